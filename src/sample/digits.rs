//! Numbers and names that end. JSON's grammar lets a number have digits for ever, and small models fall into runs of zeros;
//! it lets the name of a property be blanks for ever, too.

/// Most digits before the point: the largest 64-bit integer has 20.
const MAX_INTEGER: u32 = 20;
/// Most digits after the point.
const MAX_FRACTION: u32 = 20;
/// Most digits of an exponent.
const MAX_EXPONENT: u32 = 3;

/// Most blanks in a row in the name of a property.
const MAX_BLANKS: u8 = 8;
/// Levels that are told apart as objects and arrays.
const MAX_LEVELS: u8 = 128;

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
    /// The string is the name of a property, or the next one is.
    name: bool,
    /// Blanks in a row in that name.
    blanks: u8,
    /// A bit for each level, the innermost one last: whether it is an object.
    objects: u128,
    levels: u8,
}

impl Digits {
    /// Whether the text ends within something that has to come to an end.
    pub(super) fn is_counting(&self) -> bool {
        self.place != Place::Outside || (self.in_string && self.name)
    }

    /// Reads on; false when a number or a run of blanks has become longer than anybody reads.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.step(byte))
    }

    fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
            self.blanks = if byte == b' ' { self.blanks.saturating_add(1) } else { 0 };
            return !self.name || self.blanks <= MAX_BLANKS;
        }
        self.enter(byte);
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
        (self.in_string, self.blanks) = (byte == b'"', 0);
        match self.place {
            Place::Outside => true,
            Place::Integer(n) => n <= MAX_INTEGER,
            Place::Fraction(n) => n <= MAX_FRACTION,
            Place::Exponent(n) => n <= MAX_EXPONENT,
        }
    }
}

impl Digits {
    /// Keeps count of levels, so that names are told from other strings.
    fn enter(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => {
                self.objects = self.objects << 1 | u128::from(byte == b'{');
                self.levels = self.levels.saturating_add(1);
                self.name = byte == b'{';
            }
            b'}' | b']' => (self.objects, self.levels) = (self.objects >> 1, self.levels.saturating_sub(1)),
            b',' => self.name = self.objects & 1 == 1 && self.levels < MAX_LEVELS,
            b':' => self.name = false,
            _ => {}
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
        assert!(text.read(b"[12") && text.is_counting() && text.read(b"]") && !text.is_counting());
        let blanks = " ".repeat(9);
        assert!(fits(&format!("{{\"a b\": [\"{blanks}\", {{\"c\": \"{blanks}\"}}], \"d\": 1}}")));
        assert!(!fits(&format!("{{\"{blanks}")) && !fits(&format!("{{\"a\": [{{}}, 1], \"x{blanks}")));
    }
}
