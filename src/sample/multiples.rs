//! How many states the multiples of a number take: the compiler follows a number digit by digit by its remainder, so it has as many
//! states as the divisor says, of several divisors as their least common multiple, and looks through all of them at each digit.

use super::keywords::{self, within};
use super::pointer;
use super::refusal::refuse;
use crate::Result;
use serde_json::{Map, Value};

/// Most remainders that are told apart in one number: those of one divisor, or of all that it has to fit at once.
const MAX_REMAINDERS: u64 = 10_000;
/// Most ways in which the divisors of one number can come together.
const MAX_WAYS: usize = 1000;
/// Most `$ref`s after one another; those that lead to themselves are refused before.
const MAX_DEPTH: usize = 200;

/// A divisor: `digits / 10^places`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Divisor {
    digits: u64,
    places: u32,
}

impl Divisor {
    const ONE: Self = Self { digits: 1, places: 0 };

    /// Nothing where the text is no number above zero that could be one. What is too large for any remainder is as large as it gets.
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (fraction, exponent) = (fraction.trim_end_matches('0'), exponent.parse::<i64>().ok()?);
        let places = fraction.len() as i64 - exponent;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = digits.parse::<u64>().unwrap_or(u64::MAX);
        let zeros = 10u64.checked_pow(u32::try_from(-places.min(0)).unwrap_or(u32::MAX));
        let digits = zeros.and_then(|zeros| digits.checked_mul(zeros)).unwrap_or(u64::MAX);
        Some(Self { digits, places: u32::try_from(places.max(0)).unwrap_or(u32::MAX) })
    }

    /// What is divided by both.
    fn with(self, other: Self) -> Self {
        let places = self.places.max(other.places);
        let scaled = |of: Self| 10u64.checked_pow(places - of.places).and_then(|scale| of.digits.checked_mul(scale));
        let digits = scaled(self).zip(scaled(other)).and_then(|(a, b)| (a / gcd(a, b)).checked_mul(b));
        Self { digits: digits.unwrap_or(u64::MAX), places }
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

fn own(map: &Map<String, Value>) -> Option<Divisor> {
    map.get("multipleOf").filter(|value| value.is_number()).and_then(|value| Divisor::read(&value.to_string()))
}

/// # Errors
/// Divisors of one number that take more remainders than are looked through in time.
pub(super) fn check(root: &Value) -> Result<()> {
    let mut any = false;
    below(root, &mut |_| any = true);
    if any { walk(root, root) } else { Ok(()) }
}

fn walk(root: &Value, schema: &Value) -> Result<()> {
    let Value::Object(map) = schema else { return Ok(()) };
    bounded(&ways(root, schema, 0)?)?;
    merged(root, map)?;
    within(map).try_for_each(|(_, inner)| walk(root, inner))
}

fn bounded(ways: &[Divisor]) -> Result<()> {
    match ways.iter().fold(0u64, |sum, way| sum.saturating_add(way.digits)) {
        all if all > MAX_REMAINDERS.max(ways.len() as u64) => {
            let found = if all == u64::MAX { "more".to_owned() } else { format!("{all} for one number") };
            refuse(format!("`multipleOf` of at most {MAX_REMAINDERS}, the point left out, together"), found)
        }
        _ => Ok(()),
    }
}

/// The divisors that one value has to fit, for each way through the alternatives.
fn ways(root: &Value, schema: &Value, depth: usize) -> Result<Vec<Divisor>> {
    let Value::Object(map) = schema else { return Ok(vec![Divisor::ONE]) };
    let mut found = vec![own(map).unwrap_or(Divisor::ONE)];
    if depth > MAX_DEPTH {
        return Ok(found);
    }
    if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|text| pointer::find(root, text)) {
        found = together(&found, &ways(root, target, depth + 1)?)?;
    }
    for word in keywords::SAME_VALUE {
        let Some(Value::Array(parts)) = map.get(word) else { continue };
        if word == "allOf" {
            for part in parts {
                found = together(&found, &ways(root, part, depth + 1)?)?;
            }
            continue;
        }
        let mut either = Vec::new();
        for way in parts.iter().map(|part| ways(root, part, depth + 1)).collect::<Result<Vec<_>>>()?.concat() {
            if !either.contains(&way) {
                either.push(way);
            }
        }
        if !either.is_empty() {
            found = together(&found, &either)?;
        }
    }
    Ok(found)
}

fn together(a: &[Divisor], b: &[Divisor]) -> Result<Vec<Divisor>> {
    if a.len() * b.len() > MAX_WAYS {
        return refuse("a schema that is looked through in time", "more alternatives of numbers than that");
    }
    Ok(a.iter().flat_map(|a| b.iter().map(|b| a.with(*b))).collect())
}

/// Where schemas of one value come together, those of its parts do: all divisors in them may meet in one number.
fn merged(root: &Value, map: &Map<String, Value>) -> Result<()> {
    let words = || keywords::SAME_VALUE.iter().chain(&["$ref"]).filter(|word| map.contains_key(**word));
    let alone =
        words().count() == 1 && map.get("allOf").is_none_or(|parts| parts.as_array().is_none_or(|all| all.len() < 2));
    let beside =
        ["properties", "items", "additionalProperties", "prefixItems"].iter().any(|word| map.contains_key(*word));
    if words().next().is_none() || alone && !beside {
        return Ok(());
    }
    let mut all = Divisor::ONE;
    let mut add = |divisor: Divisor| all = all.with(divisor);
    let about = |(word, _): &(&str, &Value)| !["$defs", "definitions"].contains(word);
    within(map).filter(about).for_each(|(_, inner)| below(inner, &mut add));
    if map.contains_key("$ref") || map.values().any(refers) {
        below(root, &mut add);
    }
    bounded(&[all])
}

/// Whether a `$ref` is in it.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(word, value)| word == "$ref" || refers(value)),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

/// Each divisor of a schema and of those in it.
fn below(schema: &Value, each: &mut dyn FnMut(Divisor)) {
    let Value::Object(map) = schema else { return };
    own(map).into_iter().for_each(&mut *each);
    within(map).for_each(|(_, inner)| below(inner, each));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn divisors_are_read_without_their_point() {
        let read = |text: &str| Divisor::read(text).map(|of| (of.digits, of.places));
        assert_eq!(read("0.01"), Some((1, 2)));
        assert_eq!(read("2.50"), Some((25, 1)));
        assert_eq!(read("1e3"), Some((1000, 0)));
        assert_eq!(read("12.5E-1"), Some((125, 2)));
        assert_eq!(read("0"), None);
        assert_eq!(read("-3"), None);
        assert_eq!(read("1e400"), Some((u64::MAX, 0)));
    }

    #[test]
    fn what_takes_too_many_remainders_is_refused() {
        let of = |k: u64| json!({"type": "integer", "multipleOf": k});
        let object = |k: u64| json!({"properties": {"a": of(k)}});
        let good = [
            of(10_000),
            json!({"multipleOf": 0.01, "anyOf": [of(5), of(25), of(60)]}),
            json!({"properties": {"a": of(9973), "b": of(9967)}}),
            json!({"allOf": [of(97), of(89)]}),
            json!({"anyOf": [object(9973), object(9967)]}),
            json!({"$defs": {"x": of(9973), "y": of(9967)}, "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/y"}}}),
        ];
        for schema in good {
            assert!(check(&schema).is_ok(), "{schema}");
        }
        let bad = [
            of(9_999_991),
            json!({"multipleOf": 99999.91}),
            json!({"allOf": [of(97), of(89), of(83)]}),
            json!({"anyOf": [of(9973), of(9967)]}),
            json!({"multipleOf": 9973, "anyOf": [of(3), of(7)]}),
            json!({"allOf": [object(9973), object(9967)]}),
            json!({"properties": {"a": of(9973)}, "allOf": [object(9967)]}),
            json!({"$defs": {"x": of(9973)}, "allOf": [{"$ref": "#/$defs/x"}, of(9967)]}),
            json!({"$defs": {"x": object(9973)}, "$ref": "#/$defs/x", "properties": {"a": of(9967)}}),
            json!({"items": {"multipleOf": 4_294_967_295u64}}),
        ];
        for schema in bad {
            let why = check(&schema).expect_err(&schema.to_string()).to_string();
            assert!(why.contains("`multipleOf` of at most 10000"), "{why}");
        }
    }
}
