//! Watches the files for changes, by reading them: they are few and small, and nothing is missed on
//! filesystems that send no notifications.
//!
//! Laws: a change is taken only once two readings agree, because a file may be caught half-written, and
//! an empty one would end every stream; what is refused is reported once, at the start or a second
//! later at the earliest, because several files may be written one after the other; whatever is refused
//! leaves what was loaded last in force.

use std::{path::PathBuf, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{Config, ConfigErrors, assemble::assemble, files::Files};

/// The time between two readings: a change is in force within about a second.
const PERIOD: Duration = Duration::from_millis(500);
/// How many readings must agree with the first before a good change is taken.
const GOOD_AFTER: u32 = 1;
/// How many readings must agree with the first before a bad change is reported.
const BAD_AFTER: u32 = 2;

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The files say something else, and it is good. After a refusal it may be what is in force.
    Loaded(Config),
    /// The files are not good; what was loaded last stays in force.
    Refused(ConfigErrors),
}

/// Watches files and directories.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    ticks: Interval,
    /// A reading that has begun. It outlives a cancelled wait.
    reading: Option<JoinHandle<Files>>,
    judge: Judge,
}

impl Watcher {
    /// A watcher of these paths, of which `loaded` is in force, and `refused` is known. Must be called in a Tokio
    /// runtime.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, loaded: Config, refused: Option<ConfigErrors>) -> Self {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { paths, ticks, reading: None, judge: Judge::new(loaded, refused) }
    }

    /// Waits for the next change. It may be cancelled and called again without losing one.
    pub async fn changed(&mut self) -> Change {
        loop {
            let files = self.read().await;
            if let Some(change) = files.and_then(|files| self.judge.see(&files)) {
                return change;
            }
        }
    }

    /// The next reading; `None` where the runtime stops.
    async fn read(&mut self) -> Option<Files> {
        if self.reading.is_none() {
            self.ticks.tick().await;
        }
        let paths = &self.paths;
        let reading = self.reading.get_or_insert_with(|| {
            let paths = paths.clone();
            // The files may lie on a slow disk.
            tokio::task::spawn_blocking(move || Files::read(&paths))
        });
        let files = reading.await.ok();
        self.reading = None;
        files
    }
}

/// Decides what a reading means, from the readings before it.
#[derive(Debug)]
struct Judge {
    in_force: Config,
    /// What was reported since something good was read.
    refused: Option<ConfigErrors>,
    /// The last reading, and how many have agreed with it since. `None` of them once it is dealt with.
    last: Option<(Files, Option<u32>)>,
}

impl Judge {
    const fn new(in_force: Config, refused: Option<ConfigErrors>) -> Self {
        Self { in_force, refused, last: None }
    }

    fn see(&mut self, files: &Files) -> Option<Change> {
        let agreed = match &mut self.last {
            Some((last, agreed)) if last == files => {
                let agreed = agreed.as_mut()?;
                *agreed += 1;
                *agreed
            }
            Some(_) | None => {
                self.last = Some((files.clone(), Some(0)));
                return None;
            }
        };
        if agreed < GOOD_AFTER {
            return None;
        }
        match assemble(files) {
            Ok(config) => {
                self.settle();
                self.load(config)
            }
            Err(_) if agreed < BAD_AFTER => None,
            Err(errors) => {
                self.settle();
                if self.refused.as_ref() == Some(&errors) {
                    return None;
                }
                self.refused = Some(errors.clone());
                Some(Change::Refused(errors))
            }
        }
    }

    fn settle(&mut self) {
        if let Some((_, agreed)) = &mut self.last {
            *agreed = None;
        }
    }

    fn load(&mut self, config: Config) -> Option<Change> {
        let was_refused = self.refused.take().is_some();
        if config == self.in_force && !was_refused {
            return None;
        }
        self.in_force = config.clone();
        Some(Change::Loaded(config))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn pipeline(name: &str) -> String {
        format!(
            "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{name: {name}}}\n\
             spec:\n  placement: {{sidecar: {{selector: {{matchLabels: {{app: x}}}}}}}}\n  \
             sources: [{{name: demo, generator: {{rate: 1}}}}]\n"
        )
    }

    fn files(texts: &[&str]) -> Files {
        Files(texts.iter().map(|&text| ("a.yaml".into(), Ok(text.to_owned()))).collect())
    }

    fn names(change: Option<Change>) -> Vec<String> {
        match change {
            Some(Change::Loaded(config)) => config.pipelines.into_keys().collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_is_taken_when_two_readings_agree() {
        let mut judge = Judge::new(Config::default(), None);
        let [a, b] = ["a", "b"].map(|name| files(&[&pipeline(name)]));
        assert_eq!(judge.see(&files(&[])), None);
        assert_eq!(judge.see(&files(&[])), None, "that is in force already");
        assert_eq!(judge.see(&a), None);
        assert_eq!(judge.see(&b), None, "the files are still being written");
        assert_eq!(names(judge.see(&b)), ["b"]);
        assert_eq!(judge.see(&b), None);
    }

    #[test]
    fn a_change_of_text_alone_is_none() {
        let mut judge = Judge::new(assemble(&files(&[&pipeline("a")])).unwrap(), None);
        let commented = files(&[&format!("# new\n{}", pipeline("a"))]);
        for _ in 0..3 {
            assert_eq!(judge.see(&commented), None);
        }
    }

    #[test]
    fn a_refusal_is_reported_once_and_its_repair_too() {
        let good = files(&[&pipeline("a")]);
        let mut judge = Judge::new(assemble(&good).unwrap(), None);
        let bad = files(&["kind: StreamPipeline\n"]);
        assert_eq!(judge.see(&bad), None);
        assert_eq!(judge.see(&bad), None, "another file may still come");
        assert!(matches!(judge.see(&bad), Some(Change::Refused(_))));
        assert_eq!(judge.see(&bad), None);
        assert_eq!(judge.see(&good), None);
        assert_eq!(names(judge.see(&good)), ["a"]);
        assert_eq!(judge.see(&good), None);
    }

    #[test]
    fn what_was_refused_at_the_start_is_not_reported_again_but_another_mistake_is() {
        let [bad, worse] = [files(&["kind: StreamPipeline\n"]), files(&["spec:\n  - {"])];
        let mut judge = Judge::new(Config::default(), Some(assemble(&bad).unwrap_err()));
        for _ in 0..4 {
            assert_eq!(judge.see(&bad), None);
        }
        let mut reported = (0..4).filter_map(|_| judge.see(&worse));
        let errors = assemble(&worse).unwrap_err();
        assert_eq!(reported.next(), Some(Change::Refused(errors)));
        assert_eq!(reported.next(), None);
        drop(reported);
        // A repair is one, also to what was in force.
        let mended = (0..2).find_map(|_| judge.see(&files(&[])));
        assert_eq!(mended, Some(Change::Loaded(Config::default())));
    }

    #[test]
    fn a_file_caught_half_written_does_no_harm() {
        let good = files(&[&pipeline("a")]);
        let mut judge = Judge::new(assemble(&good).unwrap(), None);
        for reading in [&good, &good, &files(&[""]), &good, &good, &files(&["spec:"]), &good, &good]
        {
            assert_eq!(judge.see(reading), None);
        }
    }

    /// Replaces a file as an editor does.
    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_written_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new(vec![root.path().to_owned()], Config::default(), None);
        let deadline = Duration::from_secs(30);
        let brief = Duration::from_millis(5);
        assert!(
            tokio::time::timeout(brief, watcher.changed()).await.is_err(),
            "nothing has changed"
        );
        replace(&root.path().join("a.yaml"), &pipeline("a"));
        let change = tokio::time::timeout(deadline, watcher.changed()).await.unwrap();
        assert_eq!(names(Some(change)), ["a"]);
        replace(&root.path().join("a.yaml"), "oops");
        let change = tokio::time::timeout(deadline, watcher.changed()).await.unwrap();
        assert!(matches!(change, Change::Refused(_)));
    }
}
