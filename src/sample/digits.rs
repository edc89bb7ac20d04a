//! Numbers that end. JSON's grammar lets a number have digits for ever, and small models fall into runs of zeros.

/// Most digits before the point: the largest 64-bit integer has 20.
const MAX_INTEGER: u32 = 20;
/// Most digits behind the point.
const MAX_FRACTION: u32 = 20;
/// Most digits of an exponent.
const MAX_EXPONENT: u32 = 3;

/// Where in a number a JSON text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Outside,
    Integer(u32),
    Fraction(u32),
    Exponent(u32),
}

/// Reads a JSON text byte by byte and counts the digits of its numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Digits {
    place: Place,
    in_string: bool,
    escaped: bool,
}

impl Digits {
    /// Whether the text ends within a number.
    pub(super) fn in_number(&self) -> bool {
        self.place != Place::Outside
    }

    /// Reads on; false when a number has become longer than anybody reads.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.step(byte))
    }

    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
            return true;
        }
        self.place = match (self.place, byte) {
            (Place::Outside, b'0'..=b'9') => Place::Integer(1),
            (Place::Integer(n), b'0'..=b'9') => Place::Integer(n + 1),
            (Place::Fraction(n), b'0'..=b'9') => Place::Fraction(n + 1),
            (Place::Exponent(n), b'0'..=b'9') => Place::Exponent(n + 1),
            (Place::Integer(_), b'.') => Place::Fraction(0),
            (Place::Integer(_) | Place::Fraction(_), b'e' | b'E') => Place::Exponent(0),
            (Place::Exponent(0), b'+' | b'-') => Place::Exponent(0),
            _ => Place::Outside,
        };
        self.in_string = byte == b'"';
        match self.place {
            Place::Outside => true,
            Place::Integer(n) => n <= MAX_INTEGER,
            Place::Fraction(n) => n <= MAX_FRACTION,
            Place::Exponent(n) => n <= MAX_EXPONENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_counted_in_numbers_only() {
        let fits = |text: &str| Digits::default().read(text.as_bytes());
        let (twenty, more) = ("1".repeat(20), "1".repeat(21));
        assert!(fits(&format!("{{\"{more}\\\"{more}\": [{twenty}, -{twenty}.{twenty}e-{}]}}", "9".repeat(3))));
        for bad in
            [more.clone(), format!("-{more}"), format!("0.{more}"), "1e1000".to_owned(), format!("[\"a\",{more}")]
        {
            assert!(!fits(&bad), "{bad}");
        }
        let mut text = Digits::default();
        assert!(text.read(b"[12") && text.in_number() && text.read(b"]") && !text.in_number());
    }
}
