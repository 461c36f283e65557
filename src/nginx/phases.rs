//! Handlers in nginx's request phases.

use core::slice;

use nginx_sys::{
    ngx_array_push, ngx_array_t, ngx_http_handler_pt, ngx_http_phases,
    ngx_http_phases_NGX_HTTP_LOG_PHASE, ngx_http_phases_NGX_HTTP_POST_READ_PHASE,
    ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, ngx_http_request_t, ngx_int_t,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::conf::Conf;
use super::guard::Failed;

/// A handler, which nginx calls with a live request.
pub type PhaseHandler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

impl Conf {
    /// Puts `handler` into one of nginx's request phases.
    pub fn add_phase_handler(
        &self,
        phase: ngx_http_phases,
        handler: PhaseHandler,
    ) -> Result<(), Failed> {
        // SAFETY: the array holds handlers.
        unsafe {
            let slot = ngx_array_push(self.handlers(phase)?).cast::<ngx_http_handler_pt>();
            if slot.is_null() {
                return Err(Failed);
            }
            slot.write(Some(handler));
        }
        Ok(())
    }

    /// Puts `handler` into the preaccess phase, before the others but for those of realip and its like, which
    /// run in post-read too: they set the client's address. nginx runs the handlers in reverse.
    pub fn add_first_preaccess_handler(&self, handler: PhaseHandler) -> Result<(), Failed> {
        let phase = ngx_http_phases_NGX_HTTP_PREACCESS_PHASE;
        self.add_phase_handler(phase, handler)?;
        let before = self.handlers(ngx_http_phases_NGX_HTTP_POST_READ_PHASE)?;
        let all = self.handlers(phase)?;
        // SAFETY: the arrays hold handlers, and are two.
        let (before, all) = unsafe { (slice_of(before), slice_of(all)) };
        let address = |handler: &ngx_http_handler_pt| handler.map(|handler| handler as usize);
        let sets_address = |handler: &&ngx_http_handler_pt| {
            before
                .iter()
                .any(|other| address(other) == address(handler))
        };
        let others = all.iter().rev().skip(1).take_while(sets_address).count();
        let first = all.len() - 1 - others;
        all[first..].rotate_right(1);
        Ok(())
    }

    /// Puts `handler` before all others of the log phase, which nginx runs in their order.
    pub fn add_first_log_handler(&self, handler: PhaseHandler) -> Result<(), Failed> {
        let phase = ngx_http_phases_NGX_HTTP_LOG_PHASE;
        self.add_phase_handler(phase, handler)?;
        let handlers = self.handlers(phase)?;
        // SAFETY: the array holds handlers, the last of which was just added.
        unsafe { slice_of(handlers) }.rotate_right(1);
        Ok(())
    }

    fn handlers(&self, phase: ngx_http_phases) -> Result<*mut ngx_array_t, Failed> {
        let core = NgxHttpCoreModule::main_conf_mut(self.get()).ok_or(Failed)?;
        Ok(&mut core.phases[phase as usize].handlers)
    }
}

/// The handlers of a phase.
///
/// # Safety
///
/// The array must hold handlers, and nothing else refer to it meanwhile.
unsafe fn slice_of<'a>(handlers: *mut ngx_array_t) -> &'a mut [ngx_http_handler_pt] {
    // SAFETY: the caller vouches for the array, whose memory is there from the start.
    unsafe {
        let elements = (*handlers).elts.cast::<ngx_http_handler_pt>();
        slice::from_raw_parts_mut(elements, (*handlers).nelts)
    }
}
