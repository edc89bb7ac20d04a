//! Tests that look inside: scanners against the regexes they stand for.
#![allow(clippy::unwrap_used, reason = "tests")]

mod scanners;
