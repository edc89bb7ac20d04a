//! Models that other programs have fetched: where Ollama, LM Studio and the Hugging Face cache keep their GGUF files.

use super::name;
use crate::platform::{input, places};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Most folders that are looked into.
const MAX_FOLDERS: usize = 20_000;
/// Longest record of another store.
const MAX_RECORD: u64 = 1 << 20;

/// Another program's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// Records by name and tag, and files named by their hash.
    Ollama,
    /// Files below the maker's and the model's folder.
    LmStudio,
    /// Repositories with snapshots.
    HuggingFace,
}

/// A model of another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundModel {
    /// The name that it gets here.
    pub name: String,
    /// The same where no other model would get it.
    pub alone: String,
    /// The (first) file.
    pub file: PathBuf,
    /// What the file is called here.
    pub file_name: String,
    /// What the other program calls it: `USER/MODEL:TAG`, `ORG/REPO`, `ORG/REPO/FILE`.
    pub called: Vec<String>,
    /// Whose it is, and of which model: what tells it apart where others have its name.
    origin: Vec<String>,
}

impl Elsewhere {
    /// Where this program keeps models, by the environment that `var` reads; the first that is there counts.
    pub fn places(self, var: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
        let set = |key: &str| var(key).filter(|path| !path.as_os_str().is_empty());
        let home =
            |below: &str| set(places::HOME).map(|home| below.split('/').fold(home, |path, part| path.join(part)));
        let all = match self {
            Self::Ollama => match set("OLLAMA_MODELS") {
                Some(place) => vec![Some(place)],
                None => {
                    let services = places::OLLAMA.iter().map(|place| Some(place.into()));
                    [home(".ollama/models")].into_iter().chain(services).collect()
                }
            },
            Self::LmStudio => vec![home(".lmstudio/models"), home(".cache/lm-studio/models")],
            Self::HuggingFace => match (set("HF_HUB_CACHE"), set("HF_HOME")) {
                (Some(place), _) => vec![Some(place)],
                (None, Some(place)) => vec![Some(place.join("hub"))],
                (None, None) => {
                    vec![
                        set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")),
                        home(".cache/huggingface/hub"),
                    ]
                }
            },
        };
        all.into_iter().flatten().collect()
    }

    /// What is below `place`.
    pub fn list(self, place: &Path) -> Listing {
        let mut listing = match self {
            Self::Ollama => ollama(place),
            Self::LmStudio => Listing { models: lm_studio(place), ..Listing::default() },
            Self::HuggingFace => Listing { models: hugging_face(place), ..Listing::default() },
        };
        tell_apart(&mut listing.models);
        listing.models.sort_by(|a, b| a.name.cmp(&b.name));
        listing
    }
}

/// Gives models that would have one name names of their own: with whose they are, then with which model, then with a number.
fn tell_apart(models: &mut [FoundModel]) {
    let mut number = 1;
    for parts in 1..=3 {
        let taken: Vec<String> = models.iter().map(|model| model.name.to_lowercase()).collect();
        for (at, model) in models.iter_mut().enumerate() {
            let name = &taken[at];
            let mut alike = (0..taken.len()).filter(|&other| taken[other] == *name);
            // The first keeps its name where nothing else tells it apart.
            if alike.clone().count() < 2 || (parts == 3 || model.origin.is_empty()) && alike.next() == Some(at) {
                continue;
            }
            let longer = if parts < 3 {
                let origin = &model.origin[..parts.min(model.origin.len())];
                name::from_file(&format!("{}-{}", origin.join("-"), model.alone)).ok()
            } else {
                number += 1;
                name::from_file(&format!("{}-{number}", model.name)).ok()
            };
            model.name = longer.unwrap_or_else(|| model.name.clone());
        }
    }
}

/// What a program keeps in a place.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its models, by name.
    pub models: Vec<FoundModel>,
    /// Records of models that cannot be taken over: unreadable ones, and those whose file is not there.
    pub broken: Vec<PathBuf>,
}

/// The first file of a model that answers or continues text; what belongs to another one (a projector) is left out. `origin`
/// is its maker and its repository.
fn of_file(file: &Path, origin: &[String]) -> Option<FoundModel> {
    let file_name = name::file_name(file.file_name()?.to_str()?).ok()?;
    let first = name::ShardName::parse(&file_name).is_none_or(|shard| shard.number == 1);
    let own = !file_name.to_lowercase().contains("mmproj");
    let name = name::from_file(&file_name).ok().filter(|_| first && own)?;
    let repository = origin.join("/");
    let called = vec![format!("{repository}/{file_name}"), repository];
    Some(FoundModel { alone: name.clone(), name, file: file.to_path_buf(), file_name, called, origin: origin.to_vec() })
}

/// `MAKER/MODEL/FILE.gguf`
fn lm_studio(place: &Path) -> Vec<FoundModel> {
    let mut files = files(place);
    files.sort();
    let origin = |file: &Path| -> Vec<String> {
        let folders = file.strip_prefix(place).ok().and_then(Path::parent).unwrap_or(Path::new(""));
        folders.iter().map(|part| part.to_string_lossy().into_owned()).collect()
    };
    files.iter().filter_map(|file| of_file(file, &origin(file))).collect()
}

/// `models--ORG--REPO/snapshots/COMMIT/FILE.gguf`, and in `refs/main` the commit that counts; of files that it does not have,
/// the latest.
fn hugging_face(place: &Path) -> Vec<FoundModel> {
    const MAX_COMMIT: u64 = 1 << 10;
    let mut found = Vec::new();
    let mut repositories: Vec<PathBuf> =
        std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    repositories.sort();
    for repository in repositories {
        let Some(origin) = repository.file_name().and_then(|name| name.to_str()?.strip_prefix("models--")) else {
            continue;
        };
        let origin: Vec<String> = origin.splitn(2, "--").map(str::to_owned).collect();
        let main = input::read_regular_text(&repository.join("refs/main"), MAX_COMMIT).unwrap_or_default();
        let snapshots = repository.join("snapshots");
        let within = |file: &Path| file.strip_prefix(&snapshots).map(Path::to_path_buf).unwrap_or_default();
        let is_main = |file: &Path| within(file).iter().next().is_some_and(|commit| commit == main.trim());
        let written = |file: &Path| file.symlink_metadata().and_then(|meta| meta.modified()).ok();
        let mut files = files(&snapshots);
        files.sort_by_cached_key(|file| (!is_main(file), std::cmp::Reverse(written(file)), file.clone()));
        let mut known = std::collections::HashSet::new();
        // The same file of other commits is an older one.
        files.retain(|file| known.insert(within(file).iter().skip(1).collect::<PathBuf>()));
        found.extend(files.iter().filter_map(|file| of_file(file, &origin)));
    }
    found
}

/// What is below a folder and no folder itself. Links to files are followed, links to folders are not.
fn below(place: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found, mut looked) = (vec![place.to_path_buf()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        looked += 1;
        if looked > MAX_FOLDERS {
            break;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let into = if folder { &mut folders } else { &mut found };
            into.push(entry.path());
        }
    }
    found
}

/// All GGUF files below a folder.
fn files(place: &Path) -> Vec<PathBuf> {
    let is_model =
        |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && path.is_file();
    below(place).into_iter().filter(is_model).collect()
}

/// `manifests/HOST/library/NAME/TAG` is JSON whose layers name the file by its hash.
fn ollama(place: &Path) -> Listing {
    let mut records = below(&place.join("manifests"));
    records.sort();
    let mut listing = Listing::default();
    for record in records {
        match of_record(place, &record) {
            Some(model) => listing.models.push(model),
            None => listing.broken.push(record),
        }
    }
    listing
}

/// The model of one record.
fn of_record(place: &Path, path: &Path) -> Option<FoundModel> {
    const KIND: &str = "application/vnd.ollama.image.model";
    let record: Value = serde_json::from_str(&input::read_regular_text(path, MAX_RECORD).ok()?).ok()?;
    let mut layers = record["layers"].as_array()?.iter();
    let digest = layers.find(|layer| layer["mediaType"] == KIND)?["digest"].as_str()?;
    let hex = digest.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let file = place.join("blobs").join(format!("sha256-{hex}"));
    // HOST/USER/MODEL/TAG; Ollama's own models are of no user.
    let below = path.strip_prefix(place.join("manifests")).ok()?;
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let [.., user, model, tag] = parts.as_slice() else { return None };
    let origin: Vec<String> = [user].into_iter().filter(|user| *user != "library").cloned().collect();
    let own = origin.iter().chain([model]).map(String::as_str).collect::<Vec<_>>().join("/");
    let name = if tag == "latest" { model.clone() } else { format!("{model}-{tag}") };
    let called = [format!("{own}:{tag}")].into_iter().chain((tag == "latest").then_some(own)).collect();
    let file_name = format!("{name}.gguf");
    (name::check(&name).is_ok() && file.is_file()).then(|| FoundModel {
        alone: name.clone(),
        name,
        file,
        file_name,
        called,
        origin,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn places_follow_the_environment() {
        let var = |set: &'static [(&str, &str)]| {
            move |key: &str| set.iter().find(|(name, _)| *name == key).map(|(_, value)| PathBuf::from(value))
        };
        let first = |elsewhere: Elsewhere, set| elsewhere.places(&var(set))[0].clone();
        assert_eq!(first(Elsewhere::Ollama, &[("OLLAMA_MODELS", "/o"), ("HOME", "/h")]), Path::new("/o"));
        assert_eq!(first(Elsewhere::Ollama, &[("HOME", "/h"), ("USERPROFILE", "/h")]), Path::new("/h/.ollama/models"));
        assert_eq!(first(Elsewhere::HuggingFace, &[("HF_HOME", "/f"), ("HOME", "/h")]), Path::new("/f/hub"));
        assert_eq!(first(Elsewhere::HuggingFace, &[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")]), Path::new("/c"));
    }

    #[test]
    fn each_store_is_read_in_its_own_form() {
        let dir = tempfile::tempdir().unwrap();
        let hex = "a".repeat(64);
        let record = |digest: &str| {
            format!(r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"{digest}"}}]}}"#)
        };
        let library = dir.path().join("o/manifests/registry.ollama.ai/library");
        put(&library.join("tiny/latest"), &record(&format!("sha256:{hex}")));
        put(&library.join("tiny/1b"), &record(&format!("sha256:{hex}")));
        put(&library.join("evil/latest"), &record("sha256:../../../../etc/passwd"));
        put(&library.join("broken/latest"), "{");
        put(&dir.path().join(format!("o/blobs/sha256-{hex}")), "GGUF");
        let names = |found: Vec<FoundModel>| found.into_iter().map(|found| found.name).collect::<Vec<_>>();
        // Two users' models of one name.
        let host = library.parent().unwrap();
        put(&host.join("alice/gem/270m"), &record(&format!("sha256:{hex}")));
        put(&host.join("bob/gem/270m"), &record(&format!("sha256:{hex}")));
        let listing = Elsewhere::Ollama.list(&dir.path().join("o"));
        let alice = &listing.models[0];
        assert_eq!(alice.called, ["alice/gem:270m"]);
        assert_eq!(names(listing.models), ["alice-gem-270m", "bob-gem-270m", "tiny", "tiny-1b"]);
        assert_eq!(listing.broken, [library.join("broken/latest"), library.join("evil/latest")]);
        put(&dir.path().join("l/maker/model/x-Q4_0.gguf"), "GGUF");
        put(&dir.path().join("l/maker/model/mmproj-x.gguf"), "GGUF");
        put(&dir.path().join("l/maker/model/y-00002-of-00002.gguf"), "GGUF");
        assert_eq!(names(Elsewhere::LmStudio.list(&dir.path().join("l")).models).len(), 1);
        put(&dir.path().join("h/models--o--r/snapshots/abc/z.gguf"), "GGUF");
        put(&dir.path().join("h/models--o--r/blobs/w.gguf"), "GGUF");
        assert_eq!(names(Elsewhere::HuggingFace.list(&dir.path().join("h")).models).len(), 1);
        // Of a repository's commits the one that it calls main counts, and files of one name are told apart.
        let hub = dir.path().join("hub");
        for (repository, commit) in [("a--two", "0123"), ("a--two", "ffff"), ("b--two", "1111"), ("b--three", "2222")] {
            put(&hub.join(format!("models--{repository}/snapshots/{commit}/two-Q4_0.gguf")), commit);
        }
        put(&hub.join("models--a--two/refs/main"), "0123\n");
        let models = Elsewhere::HuggingFace.list(&hub).models;
        let told: Vec<_> =
            models.iter().map(|model| (&*model.name, fs::read_to_string(&model.file).unwrap())).collect();
        assert_eq!(
            told,
            [("a-two-Q4_0", "0123".into()), ("b-three-two-Q4_0", "2222".into()), ("b-two-two-Q4_0", "1111".into())]
        );
        assert_eq!(models[0].called, ["a/two/two-Q4_0.gguf", "a/two"]);
        assert!(Elsewhere::Ollama.list(Path::new("/nowhere")).models.is_empty());
    }
}
