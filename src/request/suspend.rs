//! A judgement that waits: for keys, for the resolver, or for another request's answer.

use nginx_sys::{ngx_int_t, NGX_AGAIN, NGX_HTTP_INTERNAL_SERVER_ERROR};

use crate::conf::Project;
use crate::nginx::{bytes, now, Failed, Request};
use crate::request::context::{ClientRequest, Context, Stage};
use crate::request::outcome::Outcome;
use crate::request::question::Verdict;
use crate::request::resolver;
use crate::request::step::Step;
use crate::request::waiting::{self, WaiterId};
use crate::worker;

/// The result of a step.
pub enum Progress {
    /// The judgement is complete.
    Done(Outcome),
    /// The handler returns this: it is run again when there is more, or has failed.
    Suspended(ngx_int_t),
}

/// Takes in what a suspended request waited for; false while it waits.
pub fn resume(r: &Request, (client, context): (&ClientRequest, &Context)) -> bool {
    match context.stage.get() {
        Stage::Waiting(waiter) if waiting::is_waiting(waiter) => return false,
        Stage::Asking(question) => {
            if !resolver::take_answer(r, client, question) {
                return false;
            }
            if let Some(slip) = context.slip.take() {
                // SAFETY: the question and its texts live in the pool of the client request.
                let verdict = unsafe {
                    let asked = question.as_ref();
                    client.answer(&asked.tenant.id, bytes(&asked.token), bytes(&asked.cookie))
                };
                if let Some(Verdict::Yes(..)) = verdict {
                    worker::give_back_early_question(slip);
                }
            }
        }
        Stage::Waiting(_) | Stage::New | Stage::Decided => {}
    }
    context.stage.set(Stage::New);
    true
}

/// Takes the next step of a judgement.
pub fn proceed(
    r: &Request,
    (client, context): (&ClientRequest, &Context),
    project: &Project,
    step: Step<'_>,
) -> Result<Progress, Failed> {
    let again = NGX_AGAIN as ngx_int_t;
    Ok(Progress::Suspended(match step {
        Step::Done(outcome) => return Ok(Progress::Done(outcome)),
        Step::WaitForKeys(source) => {
            let waiter = waiting::wait_for_keys(r, source, context.queued_until.get());
            suspended(context, waiter)
        }
        Step::WaitForAnswer(key) => {
            let since = context.waiting_since.get().unwrap_or_else(now);
            context.waiting_since.set(Some(since));
            suspended(context, waiting::wait_for_answer(r, key))
        }
        Step::Ask(ask) => {
            resolver::ask(r, (client, context), project, *ask)?;
            again
        }
        Step::Join(asked) => {
            client.join(asked, r);
            again
        }
    }))
}

/// The status of a request that was to wait.
fn suspended(context: &Context, waiter: Result<WaiterId, Failed>) -> ngx_int_t {
    match waiter {
        Ok(waiter) => {
            context.stage.set(Stage::Waiting(waiter));
            NGX_AGAIN as ngx_int_t
        }
        Err(Failed) => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
    }
}
