//! A client of the load generator as a process: started, listened to, ended.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// A running load generator; killed when dropped.
pub(crate) struct Client {
    child: Child,
    lines: Receiver<String>,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("client: {error}"))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().ok_or("client without stdout")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    pub(crate) fn line(&mut self, patience: Duration) -> Result<String, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(format!("no result within {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                let mut said = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                Err(said.trim().trim_start_matches("portreeve-bench: ").to_owned())
            }
        }
    }

    pub(super) fn go_on(&mut self) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("client without stdin")?;
        stdin.write_all(b"go\n").map_err(|error| format!("client: {error}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has said its result ends by itself; any other has nothing to say any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
