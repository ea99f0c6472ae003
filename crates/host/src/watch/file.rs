//! Noticing that a file has changed, whatever way it is replaced.
//!
//! Owns an inotify instance with a watch on every directory on the way to the file, through all
//! symbolic links: any of them may be retargeted, renamed over, or come into being later. Does
//! not read the file.
//!
//! Spec: inotify(7), path_resolution(7).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Watches one path.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    inotify: OwnedFd,
    /// What is watched for: in which directory which name, or without a name the file itself.
    watched: Vec<(i32, Option<OsString>)>,
}

impl FileWatch {
    pub(super) fn new(path: PathBuf) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watch = Self { path, inotify, watched: Vec::new() };
        watch.arm()?;
        Ok(watch)
    }

    /// Whether something has happened to the file or to the way to it since the last time.
    /// Afterwards the way is watched as it leads now.
    pub(super) fn changed(&mut self) -> Result<bool, Errno> {
        let changed = self.drain()?;
        if changed {
            self.arm()?;
        }
        Ok(changed)
    }

    /// Takes all events and returns whether one was about the way as it is watched.
    fn drain(&self) -> Result<bool, Errno> {
        let mut changed = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    // A watch ends (IGNORED) with the directory or file it is on, and with its
                    // removal here, when it is no longer among those that count.
                    let ended = event.events().contains(ReadFlags::IGNORED);
                    changed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW)
                        || self.watched.iter().any(|(watch, watched)| {
                            *watch == event.wd() && (ended || watched.as_deref() == name)
                        });
                }
                Err(Errno::AGAIN) => return Ok(changed),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Walks the path as the kernel does and watches each step before it is taken, so that a
    /// change during the walk is seen either by the walk or by the watch.
    fn arm(&mut self) -> Result<(), Errno> {
        for (watch, _) in self.watched.drain(..) {
            // Gone already where its directory is.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
        let absolute = std::path::absolute(&self.path).map_err(|_| Errno::INVAL)?;
        let mut steps = steps_of(&absolute);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if step == ".." {
                at.pop();
                continue;
            }
            let last = steps.is_empty();
            let flags = if last { WAY | WatchFlags::CLOSE_WRITE } else { WAY };
            self.add(&at, flags | WatchFlags::ONLYDIR, Some(step.clone()))?;
            let next = at.join(&step);
            let Ok(stat) = rustix::fs::lstat(&next) else { break };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    let Ok(target) = std::fs::read_link(&next) else { break };
                    if links > MAX_LINKS {
                        break;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    let mut target = steps_of(&target);
                    target.append(&mut steps);
                    steps = target;
                }
                FileType::Directory => at = next,
                // Beside its directory, for writers who reach it by another name: a file that
                // is mounted into a container is written from outside.
                _ if last => self.add(&next, WatchFlags::CLOSE_WRITE, None)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Adds a watch, unless the place is not there (any more) or not ours to read: what comes
    /// after it may be.
    fn add(&mut self, path: &Path, flags: WatchFlags, name: Option<OsString>) -> Result<(), Errno> {
        match inotify::add_watch(&self.inotify, path, flags | WatchFlags::MASK_ADD) {
            Ok(watch) => self.watched.push((watch, name)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn steps_of(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// What may happen to a step of the way. Not what is written on the last one before its writer
/// closes it: half a configuration is none.
const WAY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);
/// As many symbolic links as path_resolution(7) follows.
const MAX_LINKS: u32 = 40;
