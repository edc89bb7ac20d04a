//! What `pull` is asked for.

use super::catalogue::{self, CatalogueEntry};
use super::name;
use super::net::hub::{Repository, WantedFile};
use crate::config::Settings;
use crate::{Error, Result};

/// The hub that `hf:` names refer to, unless the setting `hub` names another.
pub(super) const HUB: &str = "https://huggingface.co";

/// Where to fetch a model from.
#[derive(Debug, Clone)]
pub(super) enum PullSource {
    /// An entry of the catalogue.
    Catalogue(&'static CatalogueEntry),
    /// A repository of the hub.
    Hub(Repository),
    /// A file on any server.
    Url(String),
}

const SOURCE_FORMS: &str = "hf:ORG/REPO[:QUANT], hf:ORG/REPO/FILE.gguf, a URL, or a name of the catalogue";

/// The hub that these settings name, without a slash at the end.
pub(super) fn hub_of(settings: &Settings) -> String {
    settings.hub().unwrap_or_else(|| HUB.to_owned()).trim_end_matches('/').to_owned()
}

/// Reads `hf:org/repo[@revision][:QUANT]`, `[hf:]org/repo/path/file.gguf`, a URL (of the hub at `hub`, or any), or a
/// name of the catalogue.
pub(super) fn parse(text: &str, hub: &str) -> Result<PullSource> {
    let wrong = || {
        let near = match catalogue::meant(text) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => "tokki list --catalogue lists its names.".to_owned(),
        };
        if let Some((scheme, _)) = text.split_once("://") {
            return Error::usage(format!(
                "{text:?} is an address that begins with {scheme}://; only https:// and http:// are fetched from."
            ));
        }
        // A server and a file, without what makes them an address.
        let server = text.split_once('/').is_some_and(|(host, _)| host.contains([':', '.']) && !host.starts_with('.'));
        let near = if server { format!("An address begins with https:// or http://: http://{text}") } else { near };
        Error::usage(format!("{text:?} is none of {SOURCE_FORMS}. {near}"))
    };
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    if is_url && text.contains(' ') && !text.chars().any(char::is_control) {
        // As it stands in a list of files: browsers write it so, too.
        return Ok(of_url(&text.trim().replace(' ', "%20"), hub));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong());
    }
    if let Some(listed) = catalogue::listed(text) {
        return parse(listed.source, hub);
    }
    if let Some(entry) = catalogue::find(text) {
        return Ok(PullSource::Catalogue(entry));
    }
    if is_url {
        return Ok(of_url(text, hub));
    }
    let rest = text.strip_prefix("hf:").or_else(|| text.strip_prefix("hf.co/")).unwrap_or(text);
    if rest.split([':', '@']).next().is_some_and(|name| name == "ORG/REPO" || name.starts_with("ORG/REPO/")) {
        // As it stands in the help and in every example.
        return Err(Error::usage(
            "ORG/REPO stands for the name of a repository on the hub, such as \
             hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M.",
        ));
    }
    repository(rest).map(PullSource::Hub).ok_or_else(wrong)
}

fn repository(text: &str) -> Option<Repository> {
    let (path, quant) = match text.split_once(':') {
        Some((path, quant)) => (path, Some(quant)),
        None => (text, None),
    };
    let mut parts = path.splitn(3, '/');
    let (organization, repo, file) = (parts.next()?, parts.next()?, parts.next());
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    let plain = |part: &str| name::check(part).is_ok();
    if !plain(organization) || !plain(repo) || !plain(revision) {
        return None;
    }
    let want = match (file, quant) {
        (Some(file), None) if name::file_name(file).is_ok() => WantedFile::File(file.to_owned()),
        (None, Some(quant)) if plain(quant) => WantedFile::Quant(quant.to_uppercase()),
        (None, None) => WantedFile::Best,
        _ => return None,
    };
    Some(Repository { repo: format!("{organization}/{repo}"), revision: revision.to_owned(), want })
}

/// A hub address as people copy it (`/blob/`, `/resolve/`, or the repository's page) means the repository, which has a
/// listing with hashes; everything else is just a file.
fn of_url(url: &str, hub: &str) -> PullSource {
    let inside = [hub, HUB].iter().find_map(|base| url.strip_prefix(base)?.strip_prefix('/'));
    let path = inside.and_then(|path| path.split(['?', '#']).next()).map(|path| path.trim_end_matches('/'));
    let parts: Vec<&str> = path.unwrap_or_default().splitn(5, '/').collect();
    let short = match parts.as_slice() {
        [organization, repo] => Some(format!("{organization}/{repo}")),
        [organization, repo, "blob" | "resolve", revision, file] => {
            Some(format!("{organization}/{repo}@{revision}/{file}"))
        }
        _ => None,
    };
    match short.as_deref().and_then(repository) {
        Some(repository) => PullSource::Hub(repository),
        None => PullSource::Url(url.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn hub(text: &str) -> Option<(String, String, WantedFile)> {
        match parse(text, HUB).ok()? {
            PullSource::Hub(r) => Some((r.repo, r.revision, r.want)),
            _ => None,
        }
    }

    #[test]
    fn forms_of_the_hub() {
        let main = |want| Some(("o/r".to_owned(), "main".to_owned(), want));
        assert_eq!(hub("hf:o/r"), main(WantedFile::Best));
        assert_eq!(hub("o/r:q4_k_m"), main(WantedFile::Quant("Q4_K_M".into())));
        assert_eq!(hub("o/r/x.gguf"), main(WantedFile::File("x.gguf".into())));
        assert_eq!(hub("hf:o/r@v2:Q8_0"), Some(("o/r".into(), "v2".into(), WantedFile::Quant("Q8_0".into()))));
        let file = main(WantedFile::File("d/x.gguf".into()));
        assert_eq!(hub("https://huggingface.co/o/r/blob/main/d/x.gguf?download=true"), file);
        assert_eq!(hub("https://huggingface.co/o/r/"), main(WantedFile::Best));
    }

    #[test]
    fn other_addresses_and_nonsense() {
        assert!(matches!(parse("https://example.org/m.gguf", HUB), Ok(PullSource::Url(_))));
        assert!(matches!(parse("SmolLM2-135M-Instruct", HUB), Ok(PullSource::Catalogue(_))));
        for bad in [
            "",
            "x",
            "hf:",
            "hf:o",
            "o/r/x.bin",
            "../r",
            "o/../x.gguf",
            "o/r/../x.gguf",
            "o/r:a/b",
            "o r/x",
            "ftp://x/y:z/w",
        ] {
            assert!(parse(bad, HUB).is_err(), "{bad:?}");
        }
        assert!(parse("smolm2-135m-instruct", HUB).unwrap_err().to_string().contains("smollm2-135m-instruct"));
    }
}
