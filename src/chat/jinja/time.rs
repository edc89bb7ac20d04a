//! `strftime_now`: a time as text, as Python writes it in the C locale.

use super::fault::Result;
use super::meter::{Buffer, Meter};
use super::value::Value;
use jiff::civil::DateTime;
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
        rest = &rest[at + 1..];
        let flag = rest.chars().next().filter(|c| matches!(c, '-' | '_' | '0' | '^' | '#'));
        rest = &rest[usize::from(flag.is_some())..];
        let Some(kind) = rest.chars().next() else { return out.push("%") };
        rest = &rest[kind.len_utf8()..];
        directive(out, now, flag, kind)?;
    }
    out.push(rest)
}

fn directive(out: &mut Buffer, now: &DateTime, flag: Option<char>, kind: char) -> Result<()> {
    let day = usize::from(now.weekday().to_sunday_zero_offset().unsigned_abs());
    let month = usize::from(now.month().unsigned_abs()) - 1;
    let hour = i64::from(now.hour());
    let twelve = (hour + 11) % 12 + 1;
    let of_year = i64::from(now.day_of_year());
    let iso = now.date().iso_week_date();
    let year = i64::from(now.year());
    let name = |out: &mut Buffer, text: &str| match flag {
        Some('^') => out.push(&text.to_uppercase()),
        Some('#') if matches!(text, "AM" | "PM") => out.push(&text.to_lowercase()),
        Some('#') => out.push(&text.to_uppercase()),
        _ => out.push(text),
    };
    let number = |out: &mut Buffer, n: i64, width: usize, fill: char| {
        let fill = match flag {
            Some('-') => return out.push(&n.to_string()),
            Some('_') => ' ',
            Some('0') => '0',
            _ => fill,
        };
        let text = n.to_string();
        for _ in text.len()..width {
            out.push_char(fill)?;
        }
        out.push(&text)
    };
    match kind {
        'a' => name(out, &DAYS[day][..3]),
        'A' => name(out, DAYS[day]),
        'b' | 'h' => name(out, &MONTHS[month][..3]),
        'B' => name(out, MONTHS[month]),
        'c' => write(out, now, "%a %b %e %H:%M:%S %Y"),
        'C' => number(out, year.div_euclid(100), 2, '0'),
        'd' => number(out, i64::from(now.day()), 2, '0'),
        'D' | 'x' => write(out, now, "%m/%d/%y"),
        'e' => number(out, i64::from(now.day()), 2, ' '),
        'f' => out.push(&format!("{:06}", now.subsec_nanosecond() / 1000)),
        'F' => write(out, now, "%Y-%m-%d"),
        'g' => number(out, i64::from(iso.year()).rem_euclid(100), 2, '0'),
        'G' => number(out, i64::from(iso.year()), 4, '0'),
        'H' => number(out, hour, 2, '0'),
        'I' => number(out, twelve, 2, '0'),
        'j' => number(out, of_year, 3, '0'),
        'k' => number(out, hour, 2, ' '),
        'l' => number(out, twelve, 2, ' '),
        'm' => number(out, i64::from(now.month()), 2, '0'),
        'M' => number(out, i64::from(now.minute()), 2, '0'),
        'n' => out.push("\n"),
        'p' => name(out, if hour < 12 { "AM" } else { "PM" }),
        'P' => out.push(if hour < 12 { "am" } else { "pm" }),
        'r' => write(out, now, "%I:%M:%S %p"),
        'R' => write(out, now, "%H:%M"),
        'S' => number(out, i64::from(now.second()), 2, '0'),
        't' => out.push("\t"),
        'T' | 'X' => write(out, now, "%H:%M:%S"),
        'u' => number(out, i64::from(now.weekday().to_monday_one_offset()), 1, '0'),
        'U' => number(out, (of_year + 6 - day as i64) / 7, 2, '0'),
        'V' => number(out, i64::from(iso.week()), 2, '0'),
        'w' => number(out, day as i64, 1, '0'),
        'W' => number(out, (of_year + 6 - (day as i64 + 6) % 7) / 7, 2, '0'),
        'y' => number(out, year.rem_euclid(100), 2, '0'),
        'Y' => number(out, year, 1, '0'),
        // A time without a zone has neither of these.
        'z' | 'Z' => Ok(()),
        '%' => out.push("%"),
        // The C library leaves what it does not know as it is.
        other => {
            out.push("%")?;
            flag.map_or(Ok(()), |flag| out.push_char(flag))?;
            out.push_char(other)
        }
    }
}
