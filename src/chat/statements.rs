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

/// Renames `{% generation %}` tags; text, strings, comments and raw blocks are left alone.
///
/// # Errors
/// Line and reason, for a tag that is too long, or one `elif` too many.
pub(super) fn rewrite(source: &str) -> Result<String, (usize, String)> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let (mut raw, mut elifs) = (false, 0);
    while let Some(start) = rest.find('{') {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let length = match tag.as_bytes().get(1) {
            _ if raw && !tag.starts_with("{%") => 1,
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => tag_end(tag, "}}"),
            Some(b'%') => tag_end(tag, "%}"),
            _ => 1,
        };
        let (tag, after) = tag.split_at(length);
        let line = || out.matches('\n').count() + 1;
        if length > MAX_TAG && !tag.starts_with("{#") {
            return Err((line(), format!("a tag of {length} bytes (at most {MAX_TAG} are accepted)")));
        }
        let name = if tag.starts_with("{%") { statement(tag) } else { "" };
        match name {
            "raw" => raw = true,
            "endraw" => raw = false,
            _ => {}
        }
        elifs += usize::from(name.starts_with("elif"));
        if elifs > MAX_ELIF {
            return Err((line(), format!("more than {MAX_ELIF} elif tags")));
        }
        match name {
            "generation" if !raw => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" if !raw => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The inside of a `{% .. %}` tag, without whitespace controls.
fn statement(tag: &str) -> &str {
    let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
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
