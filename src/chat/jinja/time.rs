//! `strftime_now`: a time as text, as Python writes it in the C locale.

use super::fault::Result;
use super::meter::{Buffer, Meter};
use super::value::Value;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::rc::Rc;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Writes a time without a zone by a format.
///
/// # Errors
/// More text than a rendering may have.
pub(super) fn strftime(now: &DateTime, format: &str, meter: &Rc<Meter>) -> Result<Value> {
    let mut out = meter.buffer()?;
    write(&mut out, now, format)?;
    Ok(out.finish())
}

fn write(out: &mut Buffer, now: &DateTime, format: &str) -> Result<()> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push(&rest[..at])?;
        rest = &rest[at..];
        let (directive, after) = Directive::read(&rest[1..]);
        let kind = after.chars().next();
        let after = &after[kind.map_or(0, char::len_utf8)..];
        // The C library leaves what it does not know as it is.
        let unknown = || directive.format(&rest[..rest.len() - after.len()]);
        let text = match kind {
            // Python answers this one itself, and only as it stands.
            Some('f') if directive == Directive::default() => {
                Text::Name(format!("{:06}", now.subsec_nanosecond() / 1000))
            }
            kind => kind.and_then(|kind| directive.text(now, kind)).unwrap_or_else(unknown),
        };
        directive.push(out, &text)?;
        rest = after;
    }
    out.push(rest)
}

/// What a directive stands for.
enum Text {
    /// Padded with blanks where a width is asked for.
    Name(String),
    /// Padded to so many digits with this character.
    Number(i64, usize, char),
    /// Whatever the width.
    Nothing,
}

/// What stands between `%` and the letter, as the GNU C library reads it: flags, a width, and `E` or `O`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Directive {
    /// The last of `-`, `_` and `0`.
    pad: Option<char>,
    upper: bool,
    swapped: bool,
    width: usize,
    modifier: Option<char>,
}

impl Directive {
    /// Reads one, and returns what follows.
    fn read(mut rest: &str) -> (Self, &str) {
        let mut own = Self::default();
        while let Some(flag) = rest.chars().next().filter(|&c| "-_0^#".contains(c)) {
            match flag {
                '^' => own.upper = true,
                '#' => own.swapped = true,
                pad => own.pad = Some(pad),
            }
            rest = &rest[1..];
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        own.width = if digits == 0 { 0 } else { rest[..digits].parse().unwrap_or(usize::MAX) };
        rest = &rest[digits..];
        own.modifier = rest.chars().next().filter(|&c| matches!(c, 'E' | 'O'));
        rest = &rest[usize::from(own.modifier.is_some())..];
        (own, rest)
    }

    /// Padded by the flags and the width.
    fn push(&self, out: &mut Buffer, text: &Text) -> Result<()> {
        let fill =
            |out: &mut Buffer, with: char, from: usize, to: usize| (from..to).try_for_each(|_| out.push_char(with));
        match text {
            Text::Nothing => Ok(()),
            Text::Name(name) => {
                let with = if self.pad == Some('0') { '0' } else { ' ' };
                fill(out, with, name.len(), self.width)?;
                out.push(name)
            }
            Text::Number(number, digits, usual) => {
                let number = number.to_string();
                let (with, digits) = match self.pad {
                    Some('-') => (' ', self.width),
                    Some('_') => (' ', self.width.max(*digits)),
                    Some(_) => ('0', self.width.max(*digits)),
                    None => (*usual, self.width.max(*digits)),
                };
                fill(out, with, number.len(), digits)?;
                out.push(&number)
            }
        }
    }

    /// Text of several parts: of the flags, capital letters alone count.
    fn format(&self, text: &str) -> Text {
        Text::Name(if self.upper { text.to_uppercase() } else { text.to_owned() })
    }

    /// What this letter stands for, with the modifiers that it knows: those of the C locale change nothing.
    fn text(&self, now: &DateTime, kind: char) -> Option<Text> {
        let known = match self.modifier {
            None => "",
            Some('E') => "cnprstuxyzCPRTXYZ%",
            Some(_) => "bdeghjklmnprstuwyzBCGHIMPRSTUVWZ%",
        };
        if self.modifier.is_some() && !known.contains(kind) {
            return None;
        }
        let day = usize::from(now.weekday().to_sunday_zero_offset().unsigned_abs());
        let month = usize::from(now.month().unsigned_abs()) - 1;
        let hour = i64::from(now.hour());
        let twelve = (hour + 11) % 12 + 1;
        let of_year = i64::from(now.day_of_year());
        let iso = now.date().iso_week_date();
        let year = i64::from(now.year());
        let number = |n: i64, digits: usize| Text::Number(n, digits, '0');
        let blank = |n: i64| Text::Number(n, 2, ' ');
        let name = |text: &str| {
            let upper = self.upper || self.swapped;
            Text::Name(if upper { text.to_uppercase() } else { text.to_owned() })
        };
        let half = if hour < 12 { "AM" } else { "PM" };
        let format = |format: &str| self.format(&now.strftime(format).to_string());
        Some(match kind {
            'a' => name(&DAYS[day][..3]),
            'A' => name(DAYS[day]),
            'b' | 'h' => name(&MONTHS[month][..3]),
            'B' => name(MONTHS[month]),
            'c' => format("%a %b %e %H:%M:%S %Y"),
            'C' => number(year.div_euclid(100), 2),
            'd' => number(i64::from(now.day()), 2),
            'D' | 'x' => format("%m/%d/%y"),
            'e' => blank(i64::from(now.day())),
            'F' => format("%Y-%m-%d"),
            'g' => number(i64::from(iso.year()).rem_euclid(100), 2),
            'G' => number(i64::from(iso.year()), 4),
            'H' => number(hour, 2),
            'I' => number(twelve, 2),
            'j' => number(of_year, 3),
            'k' => blank(hour),
            'l' => blank(twelve),
            'm' => number(i64::from(now.month()), 2),
            'M' => number(i64::from(now.minute()), 2),
            'n' => Text::Name("\n".into()),
            'p' if self.swapped => Text::Name(half.to_lowercase()),
            'p' => Text::Name(half.into()),
            'P' => Text::Name(half.to_lowercase()),
            'r' => format("%I:%M:%S %p"),
            'R' => format("%H:%M"),
            's' => number(now.to_zoned(TimeZone::system()).ok()?.timestamp().as_second(), 1),
            'S' => number(i64::from(now.second()), 2),
            't' => Text::Name("\t".into()),
            'T' | 'X' => format("%H:%M:%S"),
            'u' => number(i64::from(now.weekday().to_monday_one_offset()), 1),
            'U' => number((of_year + 6 - day as i64) / 7, 2),
            'V' => number(i64::from(iso.week()), 2),
            'w' => number(day as i64, 1),
            'W' => number((of_year + 6 - (day as i64 + 6) % 7) / 7, 2),
            'y' => number(year.rem_euclid(100), 2),
            'Y' => number(year, 1),
            // A time without a zone has neither of these.
            'z' => Text::Nothing,
            'Z' => Text::Name(String::new()),
            '%' => Text::Name("%".into()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// As Python 3.11 writes them with the GNU C library.
    #[test]
    fn flags_widths_and_modifiers_are_those_of_the_c_library() {
        let now = jiff::civil::date(2026, 3, 5).at(7, 8, 9, 12_345_000);
        let text = |format: &str| strftime(&now, format, &Meter::new(u64::MAX)).unwrap().as_str().unwrap().to_owned();
        for (format, wanted) in [
            ("%Ey", "26"),
            ("%Od", "05"),
            ("%Ea", "%Ea"),
            ("%EB", "%EB"),
            ("%OB", "March"),
            ("%10Y", "0000002026"),
            ("%_10Y", "      2026"),
            ("%-3d", "  5"),
            ("%_3d", "  5"),
            ("%03e", "005"),
            ("%-d", "5"),
            ("%3C", "020"),
            ("%10a", "       Thu"),
            ("%010a", "0000000Thu"),
            ("%^10B", "     MARCH"),
            ("%#p", "am"),
            ("%10D", "  03/05/26"),
            ("%010D", "0003/05/26"),
            ("%^c", "THU MAR  5 07:08:09 2026"),
            ("%#c", "Thu Mar  5 07:08:09 2026"),
            ("%f", "012345"),
            ("%-f", "%-f"),
            ("%10f", "      %10f"),
            ("%^q", "%^Q"),
            ("%z", ""),
            ("%10z", ""),
            ("%10Z", "          "),
            ("%10%", "         %"),
            ("%E%", "%"),
            ("%EOd", "%EOd"),
            ("%007E", "00%007E"),
            ("a%", "a%"),
            ("%-", "%-"),
            ("%5-d", "  %5-d"),
            ("%-0d", "05"),
            ("%0-d", "5"),
        ] {
            assert_eq!(text(format), wanted, "{format}");
        }
        let seconds: i64 = text("%s").parse().unwrap();
        assert!((seconds - 1_772_694_489).abs() <= 26 * 3600, "{seconds}");
        assert!(strftime(&now, "%999999999999Y", &Meter::new(100_000)).is_err());
    }
}
