//! Models on disk.
//!
//! ```text
//! HOME/models/NAME/manifest.json  NAME.gguf ...     complete models, checked, renamed here in one step
//! HOME/partial/NAME/...                             downloads under way; kept until finished or removed by `rm`
//! ```
//! `HOME` is the configuration's `home`. Nothing under `models` is ever half-written: a model's directory is filled
//! under `partial`, synced, and renamed.

pub mod catalogue;
pub mod chats;
mod disk;
pub mod elsewhere;
mod hash;
mod home;
mod keep;
mod layout;
pub mod manifest;
pub mod name;
mod net;
mod preview;
pub mod progress;
mod pull;
mod source;
mod staging;

pub use disk::{free, has_room};
pub use home::{Store, StoredModel};
pub use keep::{Partial, Verdict};
pub use manifest::Manifest;
#[cfg(feature = "testing")]
pub use net::journal::vouched;
pub use preview::{Preview, is_remote, preview};
pub use progress::{StopFlag, StoreProgress};
pub use pull::{LayoutChoice, PullRequest, pull};
pub use staging::{Order, Staging};

use crate::config::Settings;
use crate::error::FileAction;
use crate::platform::kind_of;
use crate::{Error, ErrorKind, Result, suggest};
use home::folder_as_model;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

impl Store {
    /// The user's store: where the setting `home` says, else in the system's place for an application's data.
    pub fn open() -> Result<Self> {
        Self::of(&Settings::of_the_store()?.0)
    }

    /// The store that these settings name.
    pub fn of(settings: &Settings) -> Result<Self> {
        match settings.home() {
            Some(home) => Ok(Self::at(home)),
            None => Ok(Self::at(data_dir(&|key| std::env::var_os(key).map(PathBuf::from))?)),
        }
    }

    /// All models by name; those with a damaged record too.
    pub fn models(&self) -> Result<Vec<StoredModel>> {
        let dir = self.models_dir();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&dir, FileAction::Read, e)),
        };
        let mut models = Vec::new();
        for entry in entries {
            let dir = entry.map_err(|e| Error::io(&dir, FileAction::Read, e))?.path();
            let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name::check(&name).is_ok() && dir.is_dir() {
                models.push(StoredModel { manifest: Manifest::read(&dir), name, dir });
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The model of this name, case aside, or that came from this source.
    pub fn find(&self, name: &str) -> Result<Option<StoredModel>> {
        let lower = name.to_lowercase();
        let source = |entry: &StoredModel| entry.manifest.as_ref().is_ok_and(|m| m.source == name);
        let mut models = self.models()?;
        let at = models
            .iter()
            .position(|m| m.name == name)
            .or_else(|| models.iter().position(|m| m.name.to_lowercase() == lower))
            .or_else(|| models.iter().position(source));
        Ok(at.map(|at| models.swap_remove(at)))
    }

    /// The model of this name, or an error that names the nearest one of the store.
    pub fn get(&self, name: &str) -> Result<StoredModel> {
        match self.find(name)? {
            Some(entry) => Ok(entry),
            None => Err(self.not_here(name)),
        }
    }

    /// See [`resolve`].
    pub fn resolve(&self, name_or_path: &str) -> Result<PathBuf> {
        let path = Path::new(name_or_path);
        if path.is_file() {
            return self.unless_damaged(path);
        }
        if let Some(entry) = self.find(name_or_path)? {
            return entry.path();
        }
        if path.is_dir() {
            return Err(folder_as_model(path));
        }
        if let Some((scheme, _)) = name_or_path.split_once("://") {
            let way = match scheme {
                "http" | "https" => format!("Fetch it first: tokki pull {}", crate::text::shell_word(name_or_path)),
                _ => "Only https:// and http:// are fetched from, by tokki pull.".to_owned(),
            };
            return Err(Error::usage(format!("{name_or_path} is an address, and no file of this machine. {way}")));
        }
        match std::fs::metadata(path) {
            Ok(meta) => {
                return Err(Error::usage(format!("{} is {}, not a file.", path.display(), kind_of(meta.file_type()))));
            }
            // It may well be there, behind a folder that this user may not look into.
            Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Error::io(path, FileAction::Open, why));
            }
            Err(_) => {}
        }
        if let Some(error) = on_the_hub(name_or_path) {
            return Err(error);
        }
        if looks_like_path(name_or_path) {
            return Err(no_such_file(path));
        }
        Err(self.unknown(name_or_path))
    }

    /// A file of the store, or one that it links to, is refused by its path too, where it is known to be damaged.
    fn unless_damaged(&self, path: &Path) -> Result<PathBuf> {
        let known = |entry: &StoredModel| entry.manifest.as_ref().is_ok_and(|manifest| manifest.damaged.is_some());
        let file = std::fs::canonicalize(path).ok();
        let is_it = |entry: &StoredModel| entry.linked().and_then(|link| std::fs::canonicalize(link).ok()) == file;
        let models = self.models().unwrap_or_default();
        if let Some(entry) = models.iter().find(|entry| file.is_some() && known(entry) && is_it(entry)) {
            entry.path()?;
        }
        let folder = path.parent().filter(|folder| folder.starts_with(self.models_dir()));
        let name = folder.and_then(Path::file_name).and_then(|name| name.to_str());
        if let Some(entry) = name.map(|name| self.find(name)).transpose()?.flatten() {
            entry.path()?;
        }
        Ok(path.to_path_buf())
    }

    /// That a download of this name is not finished, if there is one.
    fn in_part(&self, name: &str) -> Option<Error> {
        let partial = self.partials().into_iter().find(|partial| partial.name.eq_ignore_ascii_case(name))?;
        let again =
            partial.order.as_ref().map_or("the same tokki pull".to_owned(), |order| order.command(&partial.name));
        let message = format!("{} is here in part only. This finishes it: {again}", partial.name);
        Some(Error::usage(message).of(ErrorKind::NotFound))
    }

    /// That no model of this store has the name, for commands that are about the store alone.
    fn not_here(&self, name: &str) -> Error {
        if name.is_empty() {
            return Error::usage("The model's name is empty. tokki list shows what is here.");
        }
        if let Some(partial) = self.in_part(name) {
            return partial;
        }
        let models = self.models().unwrap_or_default();
        let near = suggest::nearest(name, models.iter().map(|m| m.name.as_str()));
        let hint = near.map(|near| format!("Did you mean {near:?}?"));
        let hint = hint.unwrap_or_else(|| "tokki list shows what there is.".to_owned());
        Error::usage(format!("No model named {name:?} in {}. {hint}", self.home().display()))
    }

    fn unknown(&self, name: &str) -> Error {
        if name.is_empty() {
            return Error::usage("The model's name is empty. tokki list shows what is here.");
        }
        if let Some(known) = catalogue::knows(name) {
            let message = format!("{known} is not on this machine yet. Fetch it with: tokki pull {known}");
            return Error::usage(message).of(ErrorKind::NotFound);
        }
        if let Some(partial) = self.in_part(name) {
            return partial;
        }
        let models = self.models().unwrap_or_default();
        let here = suggest::nearest(name, models.iter().map(|m| m.name.as_str()));
        let hint = match here.or_else(|| catalogue::meant(name)) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => {
                "tokki list shows what is here, tokki list --catalogue what can be had by name; any GGUF of the hub is \
                     hf:ORG/REPO[:QUANT]."
                    .to_owned()
            }
        };
        Error::usage(format!("No model named {name:?}. {hint}")).of(ErrorKind::NotFound)
    }
}

impl StoredModel {
    /// The file to open: present, of the recorded length, and not known to be damaged.
    pub fn path(&self) -> Result<PathBuf> {
        let path = self.whole()?;
        match self.manifest.as_ref().ok().and_then(|manifest| manifest.damaged.as_ref()) {
            None => Ok(path),
            Some(found) => {
                let why = format!(
                    "{} is damaged: {}. {}.",
                    self.name,
                    found.trim_end_matches('.'),
                    crate::text::sentence(&self.repair())
                );
                Err(Error::usage(why).of(ErrorKind::Damaged))
            }
        }
    }

    /// The file that it links to, if it was imported. The record names it as text, which not every path is.
    pub fn linked(&self) -> Option<PathBuf> {
        let file = self.manifest.as_ref().ok()?.files.iter().find(|file| file.link.is_some())?;
        std::fs::read_link(self.dir.join(&file.name)).ok().or_else(|| file.link.clone())
    }

    /// The file to open, if all files are there as long as they should be.
    pub(super) fn whole(&self) -> Result<PathBuf> {
        let manifest = match &self.manifest {
            Ok(manifest) => manifest,
            Err(e) if e.kind() == ErrorKind::Unreadable => {
                let message = format!("The record of {} cannot be read. {e}.", self.name);
                return Err(Error::usage(message).of(ErrorKind::Unreadable));
            }
            Err(e) => {
                return Err(Error::input(&self.name, "a model with a readable record", e.to_string())
                    .of(ErrorKind::Damaged)
                    .hint(self.repair()));
            }
        };
        for file in &manifest.files {
            let path = self.dir.join(&file.name);
            let shown = file.link.as_deref().unwrap_or(&path);
            return match openable(&path) {
                Ok(meta) if !meta.is_file() => {
                    let (file, kind) = (shown.display(), kind_of(meta.file_type()));
                    let why = format!("{file} is {kind}, not the file of {}.", self.name);
                    Err(Error::usage(why).of(ErrorKind::Unreadable))
                }
                Ok(meta) if meta.len() == file.size => continue,
                Ok(meta) => {
                    let (wanted, found) = (format!("{} bytes", file.size), format!("{} bytes", meta.len()));
                    let error = Error::input(shown.display().to_string(), wanted, found);
                    Err(error.of(ErrorKind::Damaged).hint(self.repair()))
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(self.missing(shown)),
                // The bytes may be as good as ever.
                Err(e) => Err(Error::io(shown, FileAction::Open, e)),
            };
        }
        manifest
            .files
            .first()
            .map(|file| self.dir.join(&file.name))
            .ok_or_else(|| Error::input(&self.name, "at least one file", "none"))
    }

    /// That a file of this model is not there any more.
    fn missing(&self, file: &Path) -> Error {
        let (name, file) = (&self.name, file.display());
        let way = match self.manifest.as_ref().is_ok_and(Manifest::is_link) {
            true => format!("It was imported: bring the file back, or forget it with: tokki rm {name}"),
            false => format!("Fetch it again with: tokki pull {name}"),
        };
        Error::usage(format!("The file of {name} is not there any more: {file}. {way}")).of(ErrorKind::NotFound)
    }

    /// How a damaged model can be mended.
    pub(super) fn repair(&self) -> String {
        match &self.manifest {
            Err(_) => format!("remove it with: tokki rm {}, then fetch or import it again", self.name),
            Ok(manifest) if manifest.is_link() => format!(
                "it was imported: bring the file back and run tokki verify {0}, or forget it with tokki rm {0}",
                self.name
            ),
            Ok(_) => format!("repair it with: tokki pull {}", self.name),
        }
    }
}

/// What the file at `path` is, once it could be opened to be read. What is no file is not touched.
fn openable(path: &Path) -> std::io::Result<std::fs::Metadata> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() {
        std::fs::File::open(path)?;
    }
    Ok(meta)
}

/// Why a stored model cannot be used, in a word.
pub fn trouble(why: &Error) -> &'static str {
    match why.kind() {
        ErrorKind::NotFound => "missing",
        ErrorKind::OutOfMemory | ErrorKind::TooLarge => "not read for lack of memory",
        _ if is_damage(why) => "damaged",
        _ => "unreadable",
    }
}

/// Whether an error tells of the bytes of a file; a lack of memory or of rights passes.
pub fn is_damage(why: &Error) -> bool {
    use ErrorKind::{NotFound, OutOfMemory, TooLarge, Unreadable};
    !matches!(why, Error::Io { .. }) && !matches!(why.kind(), NotFound | OutOfMemory | TooLarge | Unreadable)
}

/// The file that a command's `MODEL` means: an existing file, else a name in the store. An unknown name is an error
/// that suggests the nearest one, or the `pull` that would fetch it.
pub fn resolve(name_or_path: impl AsRef<OsStr>) -> Result<PathBuf> {
    let path = Path::new(name_or_path.as_ref());
    let Some(name_or_path) = path.to_str() else {
        // No name has such bytes, but a path may.
        std::fs::metadata(path).map_err(|e| Error::io(path, FileAction::Open, e))?;
        return Ok(path.to_path_buf());
    };
    match Store::open() {
        Ok(store) => store.resolve(name_or_path),
        // A file needs no store.
        Err(_) if Path::new(name_or_path).is_file() => Ok(PathBuf::from(name_or_path)),
        Err(error) => Err(error),
    }
}

/// The file of a model that was at `path` once: it is there still, or the store has one of that name.
///
/// # Errors
/// A model that is not there any more, or cannot be used.
pub fn resolve_again(path: &Path) -> Result<PathBuf> {
    let gone = match resolve(path) {
        Ok(path) => return Ok(path),
        Err(error) if path.exists() => return Err(error),
        Err(error) => error,
    };
    let Ok(store) = Store::open() else { return Err(gone) };
    // In a store the folder has the model's name, and the file may have another.
    let folder = path.parent().filter(|folder| folder.parent().is_some_and(|place| place.ends_with("models")));
    let names = [folder.and_then(Path::file_name), path.file_stem()];
    let found = names.into_iter().flatten().filter_map(OsStr::to_str).find_map(|name| store.find(name).transpose());
    found.transpose()?.map_or(Err(gone), |entry| entry.path())
}

/// The file of the default model, which is fetched the first time, checked by its hash. After that the network is not
/// touched.
pub fn default_model(progress: &dyn StoreProgress) -> Result<PathBuf> {
    let settings = Settings::load()?;
    let entry = catalogue::default_entry();
    match Store::of(&settings)?.find(entry.name)? {
        Some(there) => there.path(),
        None => {
            let request = PullRequest { what: entry.name, ..PullRequest::default() };
            pull(&settings, request, progress).map(|pulled| pulled.path)
        }
    }
}

/// The name that people know a model's file by: its name in the store it lies in, else the file's without its ending.
pub fn name_of(file: &Path) -> String {
    let folder = file.parent().filter(|folder| folder.join(manifest::MANIFEST_FILE).is_file());
    let name = folder.and_then(Path::file_name).or(file.file_stem());
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// That a file is missing, with the one beside it that may have been meant.
fn no_such_file(path: &Path) -> Error {
    if let Ok(target) = path.read_link() {
        let (path, target) = (path.display(), target.display());
        return Error::usage(format!("{path} is a link to {target}, which is not there.")).of(ErrorKind::NotFound);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
    let beside: Vec<String> = beside.filter_map(|name| name.into_string().ok()).collect();
    let near = suggest::nearest(&name, beside.iter().map(String::as_str).filter(|name| name.ends_with(".gguf")));
    let near = near.map(|near| format!(" Did you mean {}?", path.with_file_name(near).display()));
    // A model of the store is named without the ending that its file has.
    let stem = name.strip_suffix(".gguf").filter(|_| path.components().count() == 1).unwrap_or_default();
    let stored = || Store::open().ok()?.find(stem).ok()?.map(|model| format!(" The store has {}.", model.name));
    let near = near.or_else(|| stored().filter(|_| !stem.is_empty()));
    Error::usage(format!("No such file: {}.{}", path.display(), near.unwrap_or_default())).of(ErrorKind::NotFound)
}

/// That a name means a repository of the hub, where only what is here is looked for.
fn on_the_hub(text: &str) -> Option<Error> {
    let here = Path::new(text).parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
    let source = source::parse(text, source::HUB).ok().filter(|_| text.contains('/') && !here);
    let Some(source::PullSource::Hub(_)) = source else { return None };
    let fetch = format!("tokki pull {}", crate::text::shell_word(text));
    let message = match text.starts_with("hf") {
        true => format!("{text} is a model of the hub, and not on this machine yet. Fetch it with: {fetch}"),
        false => format!("No such file: {text}. If a repository of the hub is meant, fetch it with: {fetch}"),
    };
    Some(Error::usage(message).of(ErrorKind::NotFound))
}

fn looks_like_path(text: &str) -> bool {
    text.contains(['/', '\\']) || [".gguf", ".tokki"].iter().any(|end| text.to_lowercase().ends_with(end))
}

/// The store's place on this system, by the environment, which `var` reads.
fn data_dir(var: &dyn Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let set = |key: &str| var(key).filter(|path| !path.as_os_str().is_empty());
    // The specification of XDG_DATA_HOME says that a relative path is to be ignored.
    if let Some(data) = set("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(data.join("tokki"));
    }
    let (key, below) = crate::platform::places::DATA;
    match set(key) {
        Some(base) => Ok(base.join(below)),
        None => {
            let message =
                format!("There is no place for models: {key} is not set. Set TOKKI_HOME, or give `home` DIR.");
            Err(Error::usage(message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn with_models(names: &[&str]) -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path());
        for name in names {
            let dir = store.models_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            let file = format!("{name}.gguf");
            std::fs::write(dir.join(&file), b"GGUF").unwrap();
            let files = vec![manifest::StoredFile { name: file, size: 4, sha256: None, original: None, link: None }];
            let source = format!("hf:org/{name}");
            Manifest { version: 1, name: (*name).into(), source, files, damaged: None }.write(&dir).unwrap();
        }
        (home, store)
    }

    #[test]
    fn names_paths_and_sources_resolve() {
        let (home, store) = with_models(&["alpha-7b", "beta-1b"]);
        let alpha = store.models_dir().join("alpha-7b/alpha-7b.gguf");
        for name in ["alpha-7b", "ALPHA-7B", "hf:org/alpha-7b"] {
            assert_eq!(store.resolve(name).unwrap(), alpha, "{name}");
        }
        let file = home.path().join("x.gguf");
        std::fs::write(&file, "GGUF").unwrap();
        assert_eq!(store.resolve(file.to_str().unwrap()).unwrap(), file);
    }

    #[test]
    fn unknown_names_are_errors_that_help() {
        let (_home, store) = with_models(&["alpha-7b"]);
        let message = |name: &str| {
            let error = store.resolve(name).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(message("alhpa-7b").contains("\"alpha-7b\""));
        assert!(message("smollm2-135m-instruct").contains("tokki pull smollm2-135m-instruct"));
        assert!(message("zzz").contains("tokki list"));
        assert!(message("./missing.gguf").contains("No such file: ./missing.gguf"));
    }

    #[test]
    fn shortened_and_missing_files_are_told() {
        let (_home, store) = with_models(&["alpha-7b"]);
        let file = store.models_dir().join("alpha-7b/alpha-7b.gguf");
        std::fs::write(&file, "GG").unwrap();
        assert!(store.resolve("alpha-7b").unwrap_err().to_string().contains("2 bytes"));
        std::fs::remove_file(&file).unwrap();
        assert!(store.resolve("alpha-7b").is_err());
        std::fs::write(store.models_dir().join("alpha-7b/manifest.json"), "junk").unwrap();
        assert!(store.resolve("alpha-7b").unwrap_err().to_string().contains("tokki rm alpha-7b"));
    }

    #[test]
    fn the_environment_says_where() {
        let home = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|&(k, v)| (k.to_owned(), PathBuf::from(v))).collect();
            data_dir(&move |key| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()))
        };
        let settings = Settings::from_sources(&|key| (key == "TOKKI_HOME").then(|| "/a".to_owned())).unwrap();
        assert_eq!(Store::of(&settings).unwrap().home(), Path::new("/a"));
        assert_eq!(home(&[("XDG_DATA_HOME", "/b"), ("HOME", "/h")]).unwrap(), Path::new("/b/tokki"));
        if cfg!(target_os = "linux") {
            let found = home(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]).unwrap();
            assert_eq!(found, Path::new("/h/.local/share/tokki"));
        }
        assert!(home(&[]).is_err());
    }

    #[test]
    fn a_shortage_is_no_damage() {
        let io = |action, code| Error::io("m.gguf", action, std::io::Error::from_raw_os_error(code));
        // ENOMEM, EMFILE, EACCES, EIO
        for (action, code) in [
            (FileAction::Map, 12),
            (FileAction::Open, 24),
            (FileAction::Open, 13),
            (FileAction::Map, 13),
            (FileAction::Read, 5),
        ] {
            assert!(!is_damage(&io(action, code)), "{action:?} {code}");
        }
        assert!(!is_damage(&Error::input("m", "1", "2").of(ErrorKind::TooLarge)));
        assert_eq!(trouble(&Error::failed("m", "the sha256 is another").of(ErrorKind::Mismatch)), "damaged");
    }
}
