//! `portreeve check` and `--dry-run`: what a configuration says, without doing it.
//!
//! Owns the words. Never starts anything, and never looks at this host.

use std::fmt::Write as _;

use portreeve_config::Plan;
use portreeve_types::{Configuration, LinkConfig, PublishSpec};

use crate::args::config::{CheckArgs, ShownFormat};
use crate::configuration;
use crate::report::{self, Failure, print};

/// Checks a file, or prints the schema of one.
pub(crate) fn check(args: &CheckArgs) -> Result<u8, Failure> {
    let Some(path) = &args.file else {
        return print(portreeve_config::schema().as_bytes());
    };
    let format = args.format.map(Into::into);
    let read = configuration::load(path, format);
    let configuration = read.map_err(|error| Failure::from(error).exit(WRONG))?;
    for warning in configuration.publish.iter().flat_map(PublishSpec::warnings) {
        report::warning(warning);
    }
    print(summary(&path.display().to_string(), &configuration).as_bytes())
}

/// Prints a configuration.
pub(crate) fn show(configuration: &Configuration, format: ShownFormat) -> Result<u8, Failure> {
    let text = match format {
        ShownFormat::Toml => portreeve_config::to_toml(configuration).map_err(Failure::ours)?,
        ShownFormat::Json => {
            serde_json::to_string_pretty(configuration).map_err(Failure::ours)? + "\n"
        }
    };
    print(text.as_bytes())
}

/// What a configuration asks for, in a few lines.
fn summary(path: &str, configuration: &Configuration) -> String {
    let mut text = format!("{path}: can be used\n");
    let mut line = |what: &str, value: &str| {
        // A text that cannot be written to cannot fail.
        let _ = writeln!(text, "  {what:<10} {value}");
    };
    match (&configuration.link, &configuration.command[..]) {
        (Some(link), []) => line("serve", &link_words(link)),
        (None, command @ [_, ..]) => line("run", &command.join(" ")),
        (None, []) => line("run, serve", "with a command, or a link, on the command line"),
        // Each refuses what is the other's.
        (Some(_), [_, ..]) => line("neither", "`command` is for run, and `link` for serve"),
    }
    for spec in &configuration.publish {
        line("publish", &spec.to_string());
    }
    let mut rest = configuration.clone();
    rest.publish.clear();
    rest.command.clear();
    rest.link = None;
    let plan = Plan::between(&Configuration::default(), &rest);
    for (limit, value) in &plan.limits {
        line("set", &format!("limits.{limit} = {value}"));
    }
    for record in &plan.set_records {
        let addresses: Vec<_> = record.addresses.iter().map(ToString::to_string).collect();
        line("name", &format!("{} is {}", record.name, addresses.join(", ")));
    }
    for change in &plan.needs_restart {
        line("set", &change.setting);
    }
    text
}

fn link_words(link: &LinkConfig) -> String {
    match link {
        LinkConfig::Stream(path) => format!("listen at the stream socket {}", path.display()),
        LinkConfig::StreamConnect(path) => {
            format!("connect to the stream socket {}", path.display())
        }
        LinkConfig::Dgram(paths) => format!("bind the datagram socket {}", paths.path.display()),
        LinkConfig::Vfkit(path) => format!("bind the datagram socket {} (vfkit)", path.display()),
        LinkConfig::Seqpacket(path) => format!("listen at the packet socket {}", path.display()),
        LinkConfig::Hyperkit(path) => {
            format!("listen at the stream socket {} (HyperKit)", path.display())
        }
        LinkConfig::VhostUser(link) => {
            format!("listen for a vhost-user front end at {}", link.path.display())
        }
        LinkConfig::VhostUserConnect(link) => {
            format!("connect to the vhost-user front end at {}", link.path.display())
        }
        LinkConfig::Tap(name) => format!("attach to the TAP device {name}"),
        LinkConfig::Fd(fd) => format!("take over the file descriptor {}", fd.descriptor),
    }
}

/// Exit code for a file that cannot be used.
const WRONG: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_config::{Format, parse};

    #[test]
    fn a_summary_says_what_is_not_as_always() {
        let text = "publish = ['8080:80']\nlink.stream = '/run/vm'\nlimits.max_flows = 7\n\
                    addresses.mtu = 9000\ndns.records = [{ name = 'db', addresses = ['10.0.0.7'] }]";
        let summary = summary("web.toml", &parse(text, Format::Toml).unwrap());
        assert_eq!(
            summary,
            "web.toml: can be used\n  serve      listen at the stream socket /run/vm\n  \
             publish    8080:80\n  set        limits.max_flows = 7\n  \
             name       db is 10.0.0.7\n  set        addresses.mtu\n"
        );
    }
}
