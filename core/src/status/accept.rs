//! The format of an answer, by the configuration and `Accept` (RFC 9110, section 12.5.1).

/// The parameter of `authgear_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// None: by `Accept`.
    Negotiated,
    /// `html`.
    Html,
    /// `json`.
    Json,
    /// `prometheus`: OpenMetrics where `Accept` prefers it.
    Prometheus,
}

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page.
    Html,
    /// A JSON object.
    Json,
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The formats from which a choice picks. Of those that the client likes equally, the first is sent.
    fn of_choice(choice: Choice) -> &'static [Format] {
        match choice {
            Choice::Html => &[Format::Html],
            Choice::Json => &[Format::Json],
            Choice::Prometheus => &[Format::Text, Format::OpenMetrics],
            Choice::Negotiated => &[
                Format::Html,
                Format::Json,
                Format::Text,
                Format::OpenMetrics,
            ],
        }
    }

    /// The format for a client that sent these `Accept` headers. Where it accepts none, the first one that
    /// may be chosen: an operator rather reads another format than none.
    pub fn choose<'a>(choice: Choice, accept: impl Iterator<Item = &'a [u8]>) -> Format {
        let accept: Vec<_> = accept.map(String::from_utf8_lossy).collect();
        let ranges: Vec<_> = accept
            .iter()
            .flat_map(|line| line.split(','))
            .map(range)
            .collect();
        let formats = Format::of_choice(choice);
        let mut best = (formats[0], 0.0);
        for format in formats {
            let quality = format.quality(&ranges);
            if quality > best.1 {
                best = (*format, quality);
            }
        }
        best.0
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Html => "text/html",
            Format::Json => "application/json",
            Format::Text => "text/plain",
            Format::OpenMetrics => "application/openmetrics-text",
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Html => "text/html; charset=utf-8",
            Format::Json => "application/json",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The quality of the most specific range that covers the format; 0 if none does.
    fn quality(self, ranges: &[(String, f32)]) -> f32 {
        let exact = self.media_type();
        let group = exact.split('/').next().unwrap_or_default();
        let of = |wanted: &str| {
            let matching = ranges.iter().filter(|(name, _)| name == wanted);
            matching.map(|(_, quality)| *quality).reduce(f32::max)
        };
        of(exact)
            .or_else(|| of(&format!("{group}/*")))
            .or_else(|| of("*/*"))
            .unwrap_or(0.0)
    }
}

/// Tells whether an `Accept` header names HTML itself, with a quality above 0.
pub fn accepts_html<'a>(accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let names_html = |text: &str| {
        let (name, quality) = range(text);
        name == Format::Html.media_type() && quality > 0.0
    };
    accept
        .map(String::from_utf8_lossy)
        .any(|line| line.split(',').any(names_html))
}

/// A media range in lower case and its quality, other parameters left aside.
fn range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("q")
            .then_some(value.trim())
    });
    let quality = quality.map_or(1.0, |value| value.parse().unwrap_or(0.0));
    (name, quality)
}
