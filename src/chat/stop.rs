//! Texts that end an answer, wherever the borders of tokens lie.

use std::ops::Range;

/// What may be shown, and whether the answer ends here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// Text that no stop text can begin in any more.
    pub text: String,
    /// Which stop text was found; nothing comes after it.
    pub stopped: Option<usize>,
}

/// Finds stop texts in a stream. Text that could be the beginning of one is held back until that is decided.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    /// What of it is the names of control tokens, which stop texts may hold, and which are not shown.
    hidden: Vec<Range<usize>>,
    stopped: bool,
}

impl StopMatcher {
    /// A matcher for `stops`; empty ones are ignored.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> Self {
        Self {
            stops: stops.into_iter().map(Into::into).collect(),
            held: String::new(),
            hidden: Vec::new(),
            stopped: false,
        }
    }

    /// Takes more text, returns what may be shown of it.
    pub fn push(&mut self, text: &str) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        self.held.push_str(text);
        self.decide()
    }

    /// As [`Self::push`], of the name of a control token.
    pub fn push_hidden(&mut self, name: &str) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let start = self.held.len();
        self.held.push_str(name);
        self.hidden.push(start..self.held.len());
        self.decide()
    }

    fn decide(&mut self) -> Piece {
        let found = self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = found.filter_map(|(i, stop)| self.held.find(stop.as_str()).map(|at| (at, i))).min();
        if let Some((at, stop)) = found {
            self.stopped = true;
            self.held.truncate(at);
            // Half a character before the stop text is none.
            self.held.truncate(self.held.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
            return Piece { text: self.take(self.held.len()), stopped: Some(stop) };
        }
        let keep = self.stops.iter().map(|stop| open_end(&self.held, stop)).max().unwrap_or(0);
        let mut shown = self.held.len() - keep;
        if keep > 0 {
            shown = self.held[..shown].trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        }
        Piece { text: self.take(shown), stopped: None }
    }

    /// The first `len` bytes of what is held, without what is not shown.
    fn take(&mut self, len: usize) -> String {
        let rest = self.held.split_off(len);
        let text = std::mem::replace(&mut self.held, rest);
        if self.hidden.is_empty() {
            return text;
        }
        let (mut out, mut done) = (String::new(), 0);
        for range in &mut self.hidden {
            let (start, end) = (range.start.min(len), range.end.min(len));
            out.push_str(&text[done..start]);
            done = end;
            *range = range.start.max(len) - len..range.end.max(len) - len;
        }
        out.push_str(&text[done..]);
        self.hidden.retain(|range| !range.is_empty());
        out
    }

    /// The end of the stream: what was held back.
    pub fn finish(&mut self) -> String {
        self.take(self.held.len())
    }

    /// Whether a stop text was found.
    #[cfg(test)]
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

/// Length of the longest end of `text` that is a true beginning of `tag`.
pub(crate) fn open_end(text: &str, tag: &str) -> usize {
    let longest = tag.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|&n| text.as_bytes().ends_with(&tag.as_bytes()[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().copied());
        let (mut shown, mut stopped) = (String::new(), None);
        for piece in pieces {
            let out = matcher.push(piece);
            shown.push_str(&out.text);
            stopped = stopped.or(out.stopped);
        }
        shown.push_str(&matcher.finish());
        (shown, stopped)
    }

    #[test]
    fn every_cut_gives_the_same() {
        let text = "하나 둘 셋 </s</s></stop> 넷";
        for stops in [&["</stop>"][..], &["셋", "둘 셋"], &["</s>", "</stop>"], &["없음", ""], &["넷"], &["하"]]
        {
            let whole = run(stops, &[text]);
            let cuts: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            for &a in &cuts {
                for &b in cuts.iter().filter(|&&b| b >= a) {
                    assert_eq!(run(stops, &[&text[..a], &text[a..b], &text[b..]]), whole, "{stops:?} {a} {b}");
                }
            }
            let chars: Vec<String> = text.chars().map(String::from).collect();
            assert_eq!(run(stops, &chars.iter().map(String::as_str).collect::<Vec<_>>()), whole);
        }
        assert_eq!(run(&["</s>", "</stop>"], &[text]), ("하나 둘 셋 </s".into(), Some(0)));
        assert_eq!(run(&["셋", "둘 셋"], &[text]), ("하나 ".into(), Some(1)));
    }

    #[test]
    fn names_of_control_tokens_count_and_are_not_shown() {
        let run = |stop: &str| {
            let mut matcher = StopMatcher::new([stop]);
            let pieces = [
                matcher.push("ab"),
                matcher.push_hidden("<|t|>"),
                matcher.push("cd"),
                matcher.push_hidden("<|u|>"),
                matcher.push("e"),
            ];
            let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            (text + &matcher.finish(), matcher.is_stopped())
        };
        for (stop, text) in [
            ("<|t|>", "ab"),
            ("b<|t|>", "a"),
            ("<|t|>c", "ab"),
            ("b<|t|>c", "a"),
            ("d<|u|>e", "abc"),
            ("bc", "abcde"),
            ("|>cd<|", "ab"),
        ] {
            assert_eq!(run(stop), (text.to_owned(), stop != "bc"), "{stop}");
        }
        assert_eq!(run("cd<|u|>f"), ("abcde".to_owned(), false));
    }

    #[test]
    fn holds_back_no_more_than_it_must() {
        let mut matcher = StopMatcher::new(["aab"]);
        assert_eq!(matcher.push("xaa").text, "x");
        assert_eq!(matcher.push("a").text, "a");
        assert_eq!(matcher.push("c").text, "aac");
        assert_eq!(matcher.push("aab"), Piece { text: String::new(), stopped: Some(0) });
        assert!(matcher.is_stopped());
        assert_eq!(matcher.push("more"), Piece::default());
        assert_eq!(matcher.finish(), "");
    }
}
