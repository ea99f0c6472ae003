//! `portreeve capture`: frames of the guest's link into a file.
//!
//! Owns that a file ends with a whole block however the capture ends, so that every reader of
//! pcapng takes it; counting is by its blocks. Spec: draft-ietf-opsawg-pcapng §4.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pcap_file::PcapError;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgParser};
use portreeve_client::{Capture, CaptureOptions, Error};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::screen::Screen;
use super::{Stop, words};
use crate::args::engine::CaptureArgs;
use crate::report::{self, Failure};

/// How soon a signal or the end of `--duration` is noticed on a silent link.
const GLANCE: Duration = Duration::from_millis(100);
/// A block holds one frame; offloads make frames of 64 KiB.
const MAX_BLOCK: usize = 1 << 20;

/// How every section begins: its type, the same in both byte orders.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Written {
    frames: u64,
    /// Frames that the engine could not hand over in time.
    lost: u64,
    /// Bytes of the file.
    bytes: u64,
}

pub(super) fn capture(args: &CaptureArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let ask = &args.ask;
    let to_stdout = args.output == Path::new("-");
    if to_stdout && ask.socket.json {
        let help = "write to a file";
        return Err(Stop::usage("`-o -` and --json both want standard output", help));
    }
    if to_stdout && Screen::is_terminal() {
        let help = "write to a file, or pipe it: `portreeve capture -o - | wireshark -k -i -`";
        return Err(Stop::usage("a capture is no text for a terminal", help));
    }
    let client = words::engine(ask.name.as_deref(), ask.socket.socket.as_deref())?;
    let options = CaptureOptions {
        snap_length: args.snaplen,
        filter: args.filter.clone(),
        verdicts: args.with_verdicts,
    };
    let stop = stop_at_signals()?;
    // First the engine: what it refuses leaves no empty file.
    let mut capture = client.capture(&options)?;
    capture.set_timeout(Some(GLANCE));
    let mut recorder = Recorder::new(args.count);
    let until = args.duration.map(|duration| Instant::now() + duration);
    let recorded = if to_stdout {
        record(&mut capture, &mut recorder, &mut io::stdout().lock(), until, &stop)
    } else {
        let name = args.output.display();
        let cannot = |error: io::Error| Stop::from(Failure::ours(format_args!("{name}: {error}")));
        let mut file = File::create(&args.output).map_err(cannot)?;
        record(&mut capture, &mut recorder, &mut file, until, &stop)
    };
    match recorded {
        // `wireshark` was closed: that is an end like any other.
        Ok(()) | Err(Stop::Unread) => {}
        Err(failed) => {
            summary(recorder.written);
            return Err(failed);
        }
    }
    if ask.socket.json {
        screen.json(&recorder.written)?;
    } else {
        summary(recorder.written);
    }
    Ok(0)
}

fn summary(Written { frames, lost, .. }: Written) {
    let plural = if frames == 1 { "" } else { "s" };
    let lost = match lost {
        0 => String::new(),
        lost => format!(", {lost} lost because they were not read in time"),
    };
    report::note(format_args!("{frames} frame{plural} captured{lost}"));
}

/// From now on these end the capture and not the process.
fn stop_at_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one, if the first is not heeded, ends the process as ever.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(Failure::ours)?;
    }
    Ok(stop)
}

/// Reads and writes until there is a reason to end.
fn record(
    capture: &mut Capture,
    recorder: &mut Recorder,
    out: &mut impl Write,
    until: Option<Instant>,
    stop: &AtomicBool,
) -> Result<(), Stop> {
    let mut buffer = vec![0; 1 << 16];
    while !recorder.is_full() && !stop.load(Ordering::Relaxed) {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        match capture.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => recorder.take(&buffer[..read], out)?,
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return ended(error),
        }
    }
    Ok(out.flush()?)
}

/// An engine that was killed ends a capture too: what is written is whole.
fn ended(error: io::Error) -> Result<(), Stop> {
    match error.downcast::<Error>() {
        Ok(Error::Interrupted { .. }) => {
            report::note("the engine has ended");
            Ok(())
        }
        Ok(error) => Err(error.into()),
        Err(error) => Err(Failure::ours(error).into()),
    }
}

/// Cuts the stream into blocks, counts them, and writes whole ones.
struct Recorder {
    parser: Option<PcapNgParser>,
    /// What has come and is no whole block yet.
    pending: Vec<u8>,
    written: Written,
    count: Option<u64>,
}

impl Recorder {
    const fn new(count: Option<u64>) -> Self {
        let written = Written { frames: 0, lost: 0, bytes: 0 };
        Self { parser: None, pending: Vec::new(), written, count }
    }

    fn is_full(&self) -> bool {
        self.count.is_some_and(|count| self.written.frames >= count)
    }

    /// Writes every whole block there now is, up to the last one that is wanted.
    fn take(&mut self, bytes: &[u8], out: &mut impl Write) -> Result<(), Stop> {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        while !self.is_full() {
            match self.block(done) {
                Ok(length) => done += length,
                Err(PcapError::IncompleteBuffer) => break,
                Err(error) => {
                    let what = format_args!("what the engine sends is no pcapng: {error}");
                    return Err(Failure::ours(what).into());
                }
            }
        }
        out.write_all(&self.pending[..done])?;
        // Whoever reads along sees frames as they come.
        out.flush()?;
        self.written.bytes += done as u64;
        self.pending.drain(..done);
        if self.pending.len() > MAX_BLOCK {
            return Err(
                Failure::ours("what the engine sends is no pcapng: a block has no end").into()
            );
        }
        Ok(())
    }

    /// Counts the block that begins at `from`, and returns its length.
    fn block(&mut self, from: usize) -> Result<usize, PcapError> {
        let bytes = &self.pending[from..];
        let Some(parser) = &mut self.parser else {
            let begins = bytes.len().min(SECTION.len());
            if bytes[..begins] != SECTION[..begins] {
                return Err(PcapError::InvalidField("it begins with no section"));
            }
            let (rest, parser) = PcapNgParser::new(bytes)?;
            let length = bytes.len() - rest.len();
            self.parser = Some(parser);
            return Ok(length);
        };
        let (rest, block) = parser.next_block(bytes)?;
        if let Block::EnhancedPacket(packet) = &block {
            self.written.frames += 1;
            for option in &packet.options {
                if let EnhancedPacketOption::DropCount(lost) = option {
                    self.written.lost += lost;
                }
            }
        }
        Ok(bytes.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::DataLink;
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;

    /// A file with three frames, of which the second tells of two lost ones, and where blocks end.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).unwrap();
        let mut ends = vec![writer.get_ref().len()];
        for frame in 0..3_u8 {
            let options =
                if frame == 1 { vec![EnhancedPacketOption::DropCount(2)] } else { Vec::new() };
            let data = vec![frame; 61 + usize::from(frame)];
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_secs(1),
                original_len: 1500,
                data: data.into(),
                options,
            };
            writer.write_pcapng_block(block).unwrap();
            ends.push(writer.get_ref().len());
        }
        (writer.into_inner(), ends)
    }

    #[test]
    fn whole_blocks_are_written_however_they_come() {
        let (file, ends) = file();
        for piece in [1, 7, 64, file.len()] {
            let (mut recorder, mut out) = (Recorder::new(None), Vec::new());
            for bytes in file.chunks(piece) {
                recorder.take(bytes, &mut out).unwrap();
                assert!(out.is_empty() || ends.contains(&out.len()) || out.len() < ends[0]);
            }
            assert_eq!(out, file);
            let bytes = file.len() as u64;
            assert_eq!(recorder.written, Written { frames: 3, lost: 2, bytes });
        }
    }

    #[test]
    fn a_count_ends_it_behind_that_frame() {
        let (file, ends) = file();
        let (mut recorder, mut out) = (Recorder::new(Some(2)), Vec::new());
        recorder.take(&file, &mut out).unwrap();
        assert!(recorder.is_full());
        assert_eq!(out, file[..ends[2]]);
    }

    #[test]
    fn what_is_cut_off_is_left_out_and_what_is_no_capture_is_refused() {
        let (file, ends) = file();
        let (mut recorder, mut out) = (Recorder::new(None), Vec::new());
        recorder.take(&file[..ends[2] + 5], &mut out).unwrap();
        assert_eq!(out, file[..ends[2]]);
        assert!(Recorder::new(None).take(&[b'x'; 100], &mut Vec::new()).is_err());
    }
}
