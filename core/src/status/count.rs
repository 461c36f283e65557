//! The counters of one project: their labels, and their places in a dense array.

use std::time;

use crate::reason::Reason;

/// Makes an enum of label values.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$meaning])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of the variants.
            pub const ALL: [$name; [$($word),*].len()] = [$($name::$variant),*];

            /// The word of the label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    )*};
}

words! {
    /// The mode of a request that `authgear_verify` covers.
    Mode {
        /// No valid credential, no entry.
        Required = "required",
        /// No credential passes as anonymous, a bad one is refused.
        Optional = "optional",
        /// Nothing is refused.
        Observe = "observe",
    }

    /// The source of a judgement: the words of `$authgear_source`.
    Source {
        /// A JWT whose signature was checked for this request.
        Jwt = "jwt",
        /// A JWT whose signature was checked before.
        JwtCache = "jwt_cache",
        /// The resolver, asked for this request.
        Resolver = "resolver",
        /// The resolver, asked before.
        ResolverCache = "resolver_cache",
        /// The resolver, asked before; it cannot answer now.
        ResolverStale = "resolver_stale",
        /// Nobody vouches for the caller.
        None = "none",
    }

    /// The kind of a requirement that a known caller does not meet.
    UnmetKind {
        /// `authgear_require_role`.
        Role = "role",
        /// `authgear_require_scope`.
        Scope = "scope",
        /// `authgear_require_auth_age`.
        AuthAge = "auth_age",
        /// `authgear_require`.
        Require = "require",
    }

    /// The resolver's answer to a question.
    Answer {
        /// The session is valid.
        Yes = "yes",
        /// It is not.
        No = "no",
        /// There is no verdict.
        Error = "error",
    }

    /// A table of the zone in which requests look something up.
    Table {
        /// Verified tokens, and the resolver's answers.
        Judgements = "judgements",
    }

    /// The result of a look-up.
    Found {
        /// It was there.
        Hit = "hit",
        /// It was not.
        Miss = "miss",
    }

    /// The answer to a webhook.
    Received {
        /// It changed what is known of a user, or would have if it had come first.
        Accepted = "accepted",
        /// An event that ends no session, or one that is too old to count.
        Ignored = "ignored",
        /// Its signature is missing or wrong.
        BadSignature = "bad_signature",
        /// It is no event, or one from the future.
        Malformed = "malformed",
        /// It is no `POST`.
        BadMethod = "bad_method",
        /// It is longer than `client_max_body_size`: the event is lost.
        TooLarge = "too_large",
        /// It could not be stored, or handed on.
        Unavailable = "unavailable",
    }

    /// The cause of a response that was cut off.
    Cause {
        /// Its token expired.
        Expired = "expired",
        /// Its user was revoked.
        Revoked = "revoked",
    }

    /// The result of a fetch: `ok`, or the stage that failed.
    FetchResult {
        /// A key set that can be used.
        Ok = "ok",
        /// The host's name has no address.
        NameLookup = "name_lookup",
        /// No connection.
        Connect = "connect",
        /// The proxy cannot be reached, or refuses.
        Proxy = "proxy",
        /// The TLS handshake, or the certificate.
        Tls = "tls",
        /// The time ran out.
        Timeout = "timeout",
        /// The connection broke, or the answer is not HTTP/1.1.
        Response = "response",
        /// A redirect, which is not followed.
        Redirect = "redirect",
        /// Any other status than 200.
        Status = "status",
        /// The answer is too long.
        Size = "size",
        /// The discovery document cannot be used.
        Discovery = "discovery",
        /// The key set cannot be used.
        Parse = "parse",
        /// No thread could be started, or the fetch panicked.
        Internal = "internal",
    }
}

/// Upper bounds of the buckets of a duration, in seconds; a further bucket is without a bound.
type Bounds = [f64; 13];
const BUCKETS: Bounds = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// The same for a mutex, a thousandth.
const LOCK_BUCKETS: Bounds = [
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.002_5,
    0.005,
    0.01,
];

/// A counter of a project, or of the whole zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A request that was judged.
    Request(Mode, Source, Reason),
    /// A known caller who does not meet a requirement.
    Unmet(UnmetKind),
    /// A signature that was checked.
    SignatureCheck,
    /// A question to the resolver.
    Question(Answer),
    /// A question to the resolver that confirms a JWT.
    Recheck(Answer),
    /// A fetch of keys.
    Fetch(FetchResult),
    /// A webhook.
    Webhook(Received),
    /// A look-up in a table, of the whole zone.
    Lookup(Table, Found),
    /// A response that `authgear_close_expired` cut off, of the whole zone.
    Closed(Cause),
}

/// A duration that is measured: a histogram of a project, or of the whole zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duration {
    /// From a question to the resolver's answer.
    Question,
    /// One fetch, discovery and key set together.
    Fetch,
    /// The time for which the zone's mutex is held, of the whole zone.
    Lock,
}

const REASONS: usize = Reason::ALL.len();
const UNMET: usize = Mode::ALL.len() * Source::ALL.len() * REASONS;
const SIGNATURE_CHECK: usize = UNMET + UnmetKind::ALL.len();
const QUESTION: usize = SIGNATURE_CHECK + 1;
const RECHECK: usize = QUESTION + Answer::ALL.len();
const FETCH: usize = RECHECK + Answer::ALL.len();
const WEBHOOK: usize = FETCH + FetchResult::ALL.len();
const LOOKUP: usize = WEBHOOK + Received::ALL.len();
const CLOSED: usize = LOOKUP + Table::ALL.len() * Found::ALL.len();
const HISTOGRAMS: usize = CLOSED + Cause::ALL.len();
/// Cells of a histogram: the buckets, the one without a bound, and the sum in nanoseconds.
const HISTOGRAM: usize = BUCKETS.len() + 2;

/// Number of cells of one project, or of the whole zone, which has the same.
pub const COUNTS: usize = HISTOGRAMS + 3 * HISTOGRAM;

impl Count {
    /// Its cell, below [`COUNTS`].
    #[inline]
    pub const fn cell(self) -> usize {
        match self {
            Count::Request(mode, source, reason) => {
                (mode as usize * Source::ALL.len() + source as usize) * REASONS + reason as usize
            }
            Count::Unmet(kind) => UNMET + kind as usize,
            Count::SignatureCheck => SIGNATURE_CHECK,
            Count::Question(answer) => QUESTION + answer as usize,
            Count::Recheck(answer) => RECHECK + answer as usize,
            Count::Fetch(result) => FETCH + result as usize,
            Count::Webhook(received) => WEBHOOK + received as usize,
            Count::Closed(cause) => CLOSED + cause as usize,
            Count::Lookup(table, found) => {
                LOOKUP + table as usize * Found::ALL.len() + found as usize
            }
        }
    }
}

impl Duration {
    const fn first(self) -> usize {
        HISTOGRAMS + self as usize * HISTOGRAM
    }

    /// Upper bounds of its buckets, in seconds; a further bucket is without a bound.
    pub const fn bounds(self) -> &'static Bounds {
        match self {
            Duration::Question | Duration::Fetch => &BUCKETS,
            Duration::Lock => &LOCK_BUCKETS,
        }
    }

    /// The cells of one measurement, below [`COUNTS`]: that of its bucket, to which 1 is added, and that of
    /// the sum, to which the nanoseconds are added.
    pub fn cells(self, measured: time::Duration) -> (usize, usize) {
        let seconds = measured.as_secs_f64();
        let bucket = self.bounds().iter().position(|bound| seconds <= *bound);
        let bucket = bucket.unwrap_or(BUCKETS.len());
        (self.first() + bucket, self.first() + HISTOGRAM - 1)
    }
}

/// The counts of one project or of the whole zone, of all workers.
#[derive(Clone, Debug)]
pub struct Totals(Box<[u64; COUNTS]>);

impl Default for Totals {
    fn default() -> Self {
        Totals(Box::new([0; COUNTS]))
    }
}

/// One duration's measurements.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Upper bounds, in seconds.
    pub bounds: &'static Bounds,
    /// How many took at most so long as each of them, and how many there were.
    pub cumulative: [u64; BUCKETS.len() + 1],
    /// Their sum, in seconds.
    pub sum: f64,
}

impl Totals {
    /// Adds to a cell.
    pub fn add(&mut self, cell: usize, count: u64) {
        self.0[cell] = self.0[cell].wrapping_add(count);
    }

    /// One counter.
    pub fn get(&self, count: Count) -> u64 {
        self.0[count.cell()]
    }

    /// The counters of requests that are not 0.
    pub fn requests(&self) -> impl Iterator<Item = (Mode, Source, Reason, u64)> + '_ {
        let labels = Mode::ALL.into_iter().flat_map(|mode| {
            Source::ALL.into_iter().flat_map(move |source| {
                Reason::ALL
                    .into_iter()
                    .map(move |reason| (mode, source, reason))
            })
        });
        labels
            .map(|(mode, source, reason)| {
                let count = self.get(Count::Request(mode, source, reason));
                (mode, source, reason, count)
            })
            .filter(|(.., count)| *count > 0)
    }

    /// One duration's measurements.
    pub fn histogram(&self, duration: Duration) -> Histogram {
        let cells = &self.0[duration.first()..][..HISTOGRAM];
        let mut cumulative = [0; BUCKETS.len() + 1];
        let mut count = 0_u64;
        for (cumulative, cell) in cumulative.iter_mut().zip(cells) {
            count = count.wrapping_add(*cell);
            *cumulative = count;
        }
        let sum = cells[HISTOGRAM - 1] as f64 / 1e9;
        Histogram {
            bounds: duration.bounds(),
            cumulative,
            sum,
        }
    }
}

impl Histogram {
    /// Number of measurements.
    pub fn count(&self) -> u64 {
        self.cumulative[BUCKETS.len()]
    }
}
