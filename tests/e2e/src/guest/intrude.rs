//! A guest that tries to reach the control API of its own engine, by every way that it can think of.
//!
//! Says `WAY: OUTCOME` for each: the kernel's error, or the status line of the answer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Tries them on the socket at this path.
pub(crate) fn intrude(arguments: &[String]) -> ExitCode {
    let [path] = arguments else { panic!("intrude PATH") };
    // Before anything is tried: the other end of an own attempt is listed while it lasts.
    let names = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let listed = names.lines().filter(|line| line.contains("control.sock")).count();
    println!("path: {}", ask(UnixStream::connect(path)));
    // As one who has mounted nothing sees it: fails unless we have the right to.
    let uncovered =
        Path::new(path).parent().and_then(Path::parent).unwrap_or_else(|| Path::new("/"));
    let uncovered = rustix::mount::unmount(uncovered, rustix::mount::UnmountFlags::DETACH);
    match uncovered {
        Ok(()) => println!("uncovered: {}", ask(UnixStream::connect(path))),
        Err(errno) => println!("uncovered: not allowed: {errno}"),
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_err() {
            continue;
        }
        for place in ["root", "cwd"] {
            let there = format!("/proc/{name}/{place}/{}", path.trim_start_matches('/'));
            println!("{place} of {name}: {}", ask(UnixStream::connect(there)));
        }
    }
    println!("listed: {listed}");
    let name = path.as_bytes();
    let name = SocketAddr::from_abstract_name(name);
    println!("abstract: {}", ask(name.and_then(|name| UnixStream::connect_addr(&name))));
    println!("done");
    ExitCode::SUCCESS
}

fn ask(stream: std::io::Result<UnixStream>) -> String {
    let asked = stream.and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    });
    match asked {
        Ok(answer) => {
            let answer = String::from_utf8_lossy(&answer);
            answer.lines().next().unwrap_or("nothing").to_owned()
        }
        Err(error) => error.to_string(),
    }
}
