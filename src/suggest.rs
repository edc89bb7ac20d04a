//! The nearest known word to a mistyped one.

/// Longest word that is compared, in bytes: nothing that has a name is as long, and comparing costs the product of two lengths.
const MAX_WORD: usize = 256;

/// The candidate nearest to `word` (case aside), if it is near enough to be what was meant: at most one edit in three
/// letters, or a candidate that starts with the word or with something as near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let word = word.to_lowercase();
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            if word.len() >= 3 && lower.starts_with(&word) {
                return Some((0, candidate));
            }
            let distance = strsim::damerau_levenshtein(&word, &lower);
            if distance > limit && length >= 4 {
                let start: String = lower.chars().take(length).collect();
                let near = strsim::damerau_levenshtein(&word, &start) <= limit;
                return near.then_some((usize::MAX, candidate));
            }
            (distance <= limit).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"?`, or an empty text.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!("did you mean {name:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["threads", "temperature", "top_k", "top_p", "ctx"];
        assert_eq!(nearest("treads", known), Some("threads"));
        assert_eq!(nearest("temprature", known), Some("temperature"));
        assert_eq!(nearest("TOP_K", known), Some("top_k"));
        assert_eq!(nearest("temp", known), Some("temperature"));
        assert_eq!(nearest("cxt", known), Some("ctx"));
        assert_eq!(nearest("smolm", ["gemma3", "smollm2-135m-instruct"]), Some("smollm2-135m-instruct"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"t".repeat(1 << 24), known), None);
        assert_eq!(did_you_mean("banana", known), "");
    }
}
