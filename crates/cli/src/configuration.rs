//! The one configuration that `run` and `serve` start from: a file, and what the command line says
//! on top of it.
//!
//! Owns the order of it, and reading the file again. Files are read by `portreeve-config`, options
//! are `args`'s.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve_config::{ConfigError, Format};
use portreeve_types::{ConfigFault, Configuration, PublishItem, PublishSpec, SpecError};

use crate::args::config::ConfigArgs;
use crate::args::serve::ServeArgs;
use crate::args::{LogArgs, RunArgs};
use crate::report::Failure;

/// Where a configuration comes from. Read from any thread, as often as one likes.
#[derive(Clone)]
pub(crate) struct Origin {
    file: Option<File>,
    overrides: Arc<Overrides>,
    mode: Mode,
}

type Overrides = dyn Fn(&mut Configuration) -> Result<(), ConfigurationError> + Send + Sync;

#[derive(Clone)]
enum File {
    At(PathBuf, Option<Format>),
    /// Read once: there is no second time.
    StandardInput(Arc<Result<Configuration, ConfigurationError>>),
}

/// Which command is to use the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Run,
    Serve,
}

/// A configuration that cannot be used.
#[derive(Clone)]
pub(crate) enum ConfigurationError {
    /// Something in the file.
    File(ConfigError),
    /// Something behind `-p`.
    Spec(SpecError),
    /// Anything else, and what would help.
    Other { what: String, help: Option<&'static str> },
}

impl Origin {
    /// Of `portreeve run`.
    pub(crate) fn of_run(args: &RunArgs, log: &LogArgs) -> Self {
        let (given, log) = (args.clone(), log.clone());
        let overrides = move |to: &mut Configuration| {
            log.apply(to);
            given.apply(to)
        };
        Self { file: File::of(&args.config), overrides: Arc::new(overrides), mode: Mode::Run }
    }

    /// Of `portreeve serve`.
    pub(crate) fn of_serve(args: &ServeArgs, log: &LogArgs) -> Self {
        let (given, log) = (args.clone(), log.clone());
        let overrides = move |to: &mut Configuration| {
            log.apply(to);
            given.apply(to)
        };
        Self { file: File::of(&args.config), overrides: Arc::new(overrides), mode: Mode::Serve }
    }

    /// The configuration as it is to be used.
    pub(crate) fn resolve(&self) -> Result<Configuration, ConfigurationError> {
        let mut configuration = match &self.file {
            None => Configuration::default(),
            Some(File::At(path, format)) => load(path, *format)?,
            Some(File::StandardInput(read)) => (**read).clone()?,
        };
        (self.overrides)(&mut configuration)?;
        if let Some(fault) = configuration.faults().into_iter().next() {
            return Err(fault.into());
        }
        self.mode.check(&configuration)?;
        Ok(configuration)
    }

    /// The file that can be read again, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.file {
            Some(File::At(path, _)) => Some(path),
            Some(File::StandardInput(_)) | None => None,
        }
    }
}

impl File {
    fn of(args: &ConfigArgs) -> Option<Self> {
        let path = args.config.as_ref()?;
        let format = args.format.map(Format::from);
        if path.as_os_str() == "-" {
            return Some(Self::StandardInput(Arc::new(load(path, format))));
        }
        Some(Self::At(path.clone(), format))
    }
}

impl Mode {
    /// Refuses what the other command is told, rather than leave it out in silence.
    fn check(self, configuration: &Configuration) -> Result<(), ConfigurationError> {
        let Configuration { command, link, publish, publish_all, .. } = configuration;
        let other = |what: &str, command: &str| {
            Err(ConfigurationError::new(format!("`{what}` is for `portreeve {command}` only")))
        };
        match self {
            Self::Run if link.is_some() => other("link", "serve"),
            Self::Run if configuration.ready_fd.is_some() => other("ready_fd", "serve"),
            Self::Run if configuration.exit_with_guest => other("exit_with_guest", "serve"),
            Self::Run if command.is_empty() => Err(ConfigurationError::Other {
                what: "there is no command to run".to_owned(),
                help: Some("write it behind the options, or as `command` in the configuration"),
            }),
            Self::Serve if !command.is_empty() => other("command", "run"),
            Self::Serve if *publish_all => other("publish_all", "run"),
            Self::Serve if link.is_none() => Err(ConfigurationError::Other {
                what: "nothing says how the guest is attached".to_owned(),
                help: Some(
                    "give --stream, --stream-connect, --dgram, --vfkit, --seqpacket, --hyperkit, \
                     --tap or --fd, or [link] in the configuration",
                ),
            }),
            Self::Serve => refuse_auto(publish),
            Self::Run => Ok(()),
        }
    }
}

/// Reads a file, or with `-` standard input.
pub(crate) fn load(
    path: &Path,
    format: Option<Format>,
) -> Result<Configuration, ConfigurationError> {
    if path.as_os_str() == "-" {
        let Some(format) = format else {
            return Err(ConfigurationError::Other {
                what: "standard input does not say which format it is in".to_owned(),
                help: Some("say --format toml, yaml or json"),
            });
        };
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| {
            ConfigurationError::new(format!("reading the configuration: {error}"))
        })?;
        return Ok(portreeve_config::parse_named(&text, format, "standard input")?);
    }
    Ok(match format {
        Some(format) => portreeve_config::load_as(path, format)?,
        None => portreeve_config::load(path)?,
    })
}

/// The guest's sockets can be seen only where its kernel is this one.
fn refuse_auto(specs: &[PublishSpec]) -> Result<(), ConfigurationError> {
    let by_hand = |item: &PublishItem| matches!(item, PublishItem::Request(_));
    match specs.iter().find(|spec| !spec.items().iter().all(by_hand)) {
        Some(spec) => Err(ConfigurationError::Other {
            what: format!("-p {spec}: what a virtual machine listens on cannot be seen"),
            help: Some("name its ports, as in -p 8080:80"),
        }),
        None => Ok(()),
    }
}

impl ConfigurationError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Other { what: what.into(), help: None }
    }
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Spec(error) => error.fmt(f),
            Self::Other { what, .. } => f.write_str(what),
        }
    }
}

impl From<ConfigError> for ConfigurationError {
    fn from(error: ConfigError) -> Self {
        Self::File(error)
    }
}

impl From<SpecError> for ConfigurationError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

/// A file has been checked by itself, so it is something on the command line.
impl From<ConfigFault> for ConfigurationError {
    fn from(fault: ConfigFault) -> Self {
        let setting = fault.setting.split('[').next().unwrap_or_default();
        let option = OPTIONS.iter().find(|(name, _)| *name == setting).map(|(_, option)| *option);
        let place = option.unwrap_or(&fault.setting);
        Self::new(format!("{place}: {}", fault.reason))
    }
}

impl From<ConfigurationError> for Failure {
    fn from(error: ConfigurationError) -> Self {
        match error {
            ConfigurationError::File(error) => Self::diagnostic(error.diagnostic()),
            ConfigurationError::Spec(error) => Self::diagnostic(error),
            ConfigurationError::Other { what, help } => Self::with_help(what, help),
        }
    }
}

/// Settings by the options that set them.
const OPTIONS: &[(&str, &str)] = &[
    ("name", "--name"),
    ("ready_fd", "--ready-fd"),
    ("command", "the command"),
    ("addresses", "the guest's addresses"),
    ("addresses.mtu", "--mtu"),
    ("addresses.address", "--address"),
    ("addresses.gateway", "--gateway"),
    ("addresses.mac", "--mac"),
    ("egress.bind_addresses", "--bind-address"),
    ("dns.upstreams", "--dns"),
    ("dns.search", "--dns-search"),
    ("dns.records", "--add-host"),
    ("limits.connect_timeout_ms", "--connect-timeout"),
    ("control.ui", "--ui"),
];
