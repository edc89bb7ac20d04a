//! A look at a template's tags before the engine parses it.
//!
//! - `{% generation %}` .. `{% endgeneration %}`, which the engine does not know, marks what an assistant said (for
//!   training); it renders as its body in a scope of its own, which is what `{% with %}` does. The tags are renamed
//!   in the source, keeping every line and every whitespace control where it is.
//! - The engine bounds nesting, but chains (`1+1+1..`, `{% elif %}` after `{% elif %}`) become trees as deep as they are
//!   long, and walking those takes stack. So a tag has a longest length, and there are so many `elif`s and no more.

/// Longest tag, in bytes. Known templates stay below 2 KB.
const MAX_TAG: usize = 16 << 10;
/// Most `{% elif %}` tags of a template. Known templates stay below 40.
const MAX_ELIF: usize = 500;

/// A piece of a template's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text that is written as it is (raw blocks too).
    Text(&'a str),
    /// A `{{ .. }}`, `{% .. %}` or `{# .. #}`.
    Tag(&'a str),
}

/// Cuts a template's source; the pieces together are the source.
pub(super) fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = source;
    let mut raw = false;
    std::iter::from_fn(move || {
        let tag_at = |text: &str, at: usize| {
            let kind = text.as_bytes().get(at + 1);
            if raw { text[at..].starts_with("{%") } else { matches!(kind, Some(b'{' | b'%' | b'#')) }
        };
        let start = rest.match_indices('{').map(|(at, _)| at).find(|&at| tag_at(rest, at)).unwrap_or(rest.len());
        if start > 0 {
            let (text, tag) = rest.split_at(start);
            rest = tag;
            return Some(Piece::Text(text));
        }
        let length = match rest.as_bytes().get(1)? {
            b'#' => rest.find("#}").map_or(rest.len(), |end| end + 2),
            b'{' => tag_end(rest, "}}"),
            _ => tag_end(rest, "%}"),
        };
        let (tag, after) = rest.split_at(length);
        rest = after;
        match statement(tag) {
            "raw" => raw = true,
            "endraw" => raw = false,
            _ if raw => return Some(Piece::Text(tag)),
            _ => {}
        }
        Some(Piece::Tag(tag))
    })
}

/// Renames `{% generation %}` tags; text, strings, comments and raw blocks are left alone.
///
/// # Errors
/// Line and reason, for a tag that is too long, or one `elif` too many.
pub(super) fn rewrite(source: &str) -> Result<String, (usize, String)> {
    let mut out = String::with_capacity(source.len());
    let mut elifs = 0;
    for piece in pieces(source) {
        let tag = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Tag(tag) => tag,
        };
        let line = || out.matches('\n').count() + 1;
        if tag.len() > MAX_TAG && !tag.starts_with("{#") {
            return Err((line(), format!("a tag of {} bytes (at most {MAX_TAG} are accepted)", tag.len())));
        }
        let name = statement(tag);
        elifs += usize::from(name.starts_with("elif"));
        if elifs > MAX_ELIF {
            return Err((line(), format!("more than {MAX_ELIF} elif tags")));
        }
        match name {
            "generation" => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
    }
    Ok(out)
}

/// The inside of a `{% .. %}` tag, without whitespace controls; nothing for other tags.
fn statement(tag: &str) -> &str {
    let Some(inner) = tag.strip_prefix("{%") else { return "" };
    let inner = inner.trim_end_matches("%}");
    inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim()
}

/// Length of the tag at the start of `tag`, up to and with `end`, which does not count inside string literals and map
/// literals.
fn tag_end(tag: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut maps = 0_usize;
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if maps == 0 && tag[at..].starts_with(end) => return at + end.len(),
            None if c == '{' => maps += 1,
            None if c == '}' => maps = maps.saturating_sub(1),
            None => {}
        }
    }
    tag.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_the_tags_change() {
        let source = "{%- generation -%}a{% endgeneration %}\n{{ '{% generation %}' }}{# {% generation %} #}\
                      {% raw %}{% generation %}{% endraw %}{% if add_generation_prompt %}{%+ generation %}x{%endgeneration-%}";
        let wanted = "{%- with -%}a{% endwith %}\n{{ '{% generation %}' }}{# {% generation %} #}\
                      {% raw %}{% generation %}{% endraw %}{% if add_generation_prompt %}{%+ with %}x{%endwith-%}";
        assert_eq!(rewrite(source).unwrap(), wanted);
        for same in ["no tags {% broken generation", "{{ {'a': {'b': '}}'}} }}{", "{{ \"\\\"}}\" }}", "{", "{%", ""] {
            assert_eq!(rewrite(same).unwrap(), same);
        }
    }

    #[test]
    fn chains_have_an_end() {
        assert_eq!(rewrite(&format!("\n{{{{ 1{} }}}}", "+1".repeat(MAX_TAG))).unwrap_err().0, 2);
        assert!(rewrite(&format!("{{# {} #}}", "+1".repeat(MAX_TAG))).is_ok());
        assert!(rewrite(&format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(MAX_ELIF))).is_ok());
        assert!(rewrite(&format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(MAX_ELIF + 1))).is_err());
        assert!(rewrite(&format!("{{{{ {{}}{} }}}}", "+ {}".repeat(MAX_TAG))).is_err());
    }
}
