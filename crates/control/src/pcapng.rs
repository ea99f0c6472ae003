//! Captured frames as pcapng.
//!
//! Owns the blocks: one section, one Ethernet interface with nanoseconds, one enhanced packet for
//! each frame with its direction, the frames lost before it and, where asked for, why it was
//! dropped. Never waits and never sends.
//!
//! Spec: draft-ietf-opsawg-pcapng §4.1 to §4.3, §4.6.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

/// A frame to be written.
pub(crate) struct Packet<'a> {
    pub(crate) time: SystemTime,
    pub(crate) from_guest: bool,
    /// On the link.
    pub(crate) length: u32,
    /// As much of it as was captured.
    pub(crate) data: &'a [u8],
    /// Why it was dropped, if it was and that is to be told.
    pub(crate) verdict: Option<&'static str>,
}

/// Makes pcapng of frames, in chunks.
pub(crate) struct Recording {
    writer: PcapNgWriter<Vec<u8>>,
    /// Lost frames that have been told.
    lost: u64,
    frames: u64,
}

impl Recording {
    /// Begins the section of a guest of this name.
    pub(crate) fn new(name: &str, snap_length: u32) -> Option<Self> {
        let text = |text: &str| Cow::<'static, str>::Owned(text.to_owned());
        let program = concat!("portreeve ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(text(program))],
            ..SectionHeaderBlock::default()
        };
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, snap_length);
        interface.options = vec![
            InterfaceDescriptionOption::IfName(text(name)),
            InterfaceDescriptionOption::IfDescription(text("the guest's link")),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).ok()?;
        writer.write_pcapng_block(interface).ok()?;
        Some(Self { writer, lost: 0, frames: 0 })
    }

    /// Adds a frame; `lost` is how many were lost since the beginning.
    pub(crate) fn add(&mut self, frame: &Packet<'_>, lost: u64) {
        let direction = if frame.from_guest { INBOUND } else { OUTBOUND };
        let mut options = vec![EnhancedPacketOption::Flags(direction)];
        if lost > self.lost {
            options.push(EnhancedPacketOption::DropCount(lost - self.lost));
            self.lost = lost;
        }
        if let Some(verdict) = frame.verdict {
            options.push(EnhancedPacketOption::Comment(Cow::Owned(format!("dropped: {verdict}"))));
        }
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: frame.time.duration_since(UNIX_EPOCH).unwrap_or_default(),
            original_len: frame.length,
            data: Cow::Borrowed(frame.data),
            options,
        };
        self.frames += 1;
        // Into memory: neither of them can fail.
        let _ = self.writer.write_pcapng_block(block);
    }

    /// Ends the section: how many frames there were, and how many were lost.
    pub(crate) fn finish(&mut self, now: SystemTime, lost: u64) {
        let nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let block = InterfaceStatisticsBlock {
            interface_id: 0,
            timestamp: u64::try_from(nanoseconds).unwrap_or(u64::MAX),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(self.frames + lost),
                InterfaceStatisticsOption::IsbIfDrop(lost),
            ],
        };
        let _ = self.writer.write_pcapng_block(block);
    }

    /// Bytes that wait to be taken.
    pub(crate) fn pending(&self) -> usize {
        self.writer.get_ref().len()
    }

    /// Takes what has been made until now.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}

/// `if_tsresol`: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: seen from the host, as on any interface of its own.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::Block;
    use pcap_file::pcapng::PcapNgReader;
    use std::time::Duration;

    #[test]
    fn a_reader_finds_every_frame_with_its_direction_verdict_and_losses() {
        let mut recording = Recording::new("web", 96).unwrap();
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let data = [0xab; 61];
        let frame =
            |from_guest, verdict| Packet { time, from_guest, length: 1500, data: &data, verdict };
        recording.add(&frame(true, None), 0);
        recording.add(&frame(false, Some("source_mac")), 5);
        recording.finish(time, 7);
        let bytes = recording.take();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut packets = Vec::new();
        let mut statistics = None;
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::EnhancedPacket(packet) => packets.push(packet.into_owned()),
                Block::InterfaceStatistics(block) => statistics = Some(block.into_owned()),
                _ => {}
            }
        }
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0].timestamp, time.duration_since(UNIX_EPOCH).unwrap());
        assert_eq!((packets[0].original_len, packets[0].data.len()), (1500, 61));
        assert_eq!(packets[0].options, [EnhancedPacketOption::Flags(1)]);
        assert_eq!(
            packets[1].options,
            [
                EnhancedPacketOption::Flags(2),
                EnhancedPacketOption::DropCount(5),
                EnhancedPacketOption::Comment("dropped: source_mac".into()),
            ]
        );
        let lost = InterfaceStatisticsOption::IsbIfDrop(7);
        assert!(statistics.unwrap().options.contains(&lost));
    }
}
