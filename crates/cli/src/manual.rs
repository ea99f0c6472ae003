//! `portreeve completions` and `portreeve man`: what shells and readers are told about the command
//! line.
//!
//! Owns leaving out what is hidden: clap's generators show internal commands to everybody. The
//! words are those of `args`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::aot;
use clap_mangen::Man;

use crate::args::{Cli, Shell};
use crate::report::{Failure, print};

/// Writes a shell's completions to standard output.
pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    print(&completion_script(shell))
}

/// Writes the main page to standard output, or every page to a directory.
pub(crate) fn man(out: Option<&Path>) -> Result<u8, Failure> {
    let Some(folder) = out else {
        let page = page(&visible()).map_err(Failure::ours)?;
        return print(&page);
    };
    let at =
        |path: &Path, error: io::Error| Failure::ours(format_args!("{}: {error}", path.display()));
    fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    for (name, command) in pages() {
        let path = folder.join(name);
        let written = page(&command).and_then(|page| fs::write(&path, page));
        written.map_err(|error| at(&path, error))?;
    }
    Ok(0)
}

fn completion_script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut visible(), "portreeve", &mut script);
    script
}

/// Every page with the name of its file.
fn pages() -> Vec<(String, Command)> {
    let mut root = visible();
    // Gives the commands their full names and the options that all of them have.
    root.build();
    let mut pages = vec![("portreeve.1".to_owned(), visible())];
    pages_below("portreeve", &root, &mut pages);
    pages
}

fn pages_below(parent: &str, command: &Command, pages: &mut Vec<(String, Command)>) {
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("{parent}-{}", command.get_name());
        pages.push((format!("{name}.1"), command.clone().display_name(name.clone())));
        pages_below(&name, command, pages);
    }
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    // `help` has no page: pages are what it would show.
    let command = command.clone().disable_help_subcommand(true);
    let source = concat!("portreeve ", env!("CARGO_PKG_VERSION"));
    Man::new(command).source(source).render(&mut page)?;
    Ok(page)
}

/// The command line as its users know it.
fn visible() -> Command {
    without_hidden(&Cli::command())
}

/// clap can hide a part but not take it out, so the rest is put together anew.
fn without_hidden(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .disable_help_subcommand(command.is_disable_help_subcommand_set());
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned()).propagate_version(true);
    }
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.args(arguments.cloned()).subcommands(commands.map(without_hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    #[test]
    fn the_visible_command_line_is_well_formed() {
        visible().debug_assert();
    }

    #[test]
    fn every_shell_is_told_of_every_command_and_of_nothing_hidden() {
        for shell in SHELLS {
            let script = String::from_utf8(completion_script(shell)).unwrap();
            for word in ["publish-all", "in-process", "with-verdicts", "dns_rebind_blocked"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
            for command in visible().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell:?}: {name}");
                for part in command.get_subcommands().map(Command::get_name) {
                    assert!(script.contains(part), "{shell:?}: {name} {part}");
                }
            }
            for hidden in ["demo-guest", "demo__guest", "quick"] {
                assert!(!script.contains(hidden), "{shell:?}: {hidden}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_every_command_that_is_shown() {
        let names: Vec<_> = pages().into_iter().map(|(name, _)| name).collect();
        let mut expected = vec!["portreeve.1".to_owned()];
        for command in visible().get_subcommands() {
            expected.push(format!("portreeve-{}.1", command.get_name()));
            for part in command.get_subcommands().map(Command::get_name) {
                expected.push(format!("portreeve-{}-{part}.1", command.get_name()));
            }
        }
        assert_eq!(names, expected);
        for name in ["run", "demo", "ps", "flows", "capture", "dns", "dns-cache"] {
            assert!(names.contains(&format!("portreeve-{name}.1")), "{name}: {names:?}");
        }
        for (name, command) in pages() {
            let page = String::from_utf8(page(&command).unwrap()).unwrap();
            assert!(page.contains(".TH ") && !page.contains("help(1)"), "{name}: {page}");
            assert!(!page.contains("quick") && !page.contains("demo\\-guest"), "{name}: {page}");
        }
    }
}
