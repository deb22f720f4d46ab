//! A reader of event streams, written after the HTML standard, section 9.2.6, and nothing else.

/// An event that was dispatched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dispatched {
    pub(super) name: String,
    pub(super) data: String,
    pub(super) last_event_id: String,
}

/// The state of an `EventSource`.
#[derive(Debug, Default)]
pub(super) struct EventSource {
    pub(super) last_event_id: String,
    pub(super) retry: Option<u64>,
    pub(super) dispatched: Vec<Dispatched>,
    data: String,
    name: String,
    id: String,
}

impl EventSource {
    pub(super) fn read(stream: &[u8]) -> Self {
        let text = String::from_utf8(stream.to_vec()).expect("an event stream is UTF-8");
        let mut source = Self::default();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // An unfinished line at the end of the stream is discarded.
        while let Some(end) = rest.find(['\r', '\n']) {
            let (line, tail) = rest.split_at(end);
            rest = tail.strip_prefix("\r\n").unwrap_or(&tail[1..]);
            source.line(line);
        }
        source
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        if line.starts_with(':') {
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) => self.retry = value.parse().ok(),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_event_id.clone_from(&self.id);
        let mut data = std::mem::take(&mut self.data);
        let name = std::mem::take(&mut self.name);
        if data.is_empty() {
            return;
        }
        data.pop();
        let name = if name.is_empty() { "message".into() } else { name };
        self.dispatched.push(Dispatched { name, data, last_event_id: self.last_event_id.clone() });
    }
}
