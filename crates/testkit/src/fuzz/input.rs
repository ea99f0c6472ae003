//! Bytes as decisions: how a fuzzer's input becomes numbers.

/// A cursor over an input. What is missing reads as zero, so every input means something.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// A cursor at the start.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything is used up.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    /// The next two bytes as a number.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One bit.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// A length: mostly small, sometimes up to 256 KiB.
    pub fn length(&mut self) -> u64 {
        let byte = self.byte();
        u64::from(byte & 0x0f) << ((byte >> 4) & 0x0f)
    }

    /// As many bytes as the next two say, and no more than there are.
    pub fn slice(&mut self) -> &'a [u8] {
        let length = usize::from(self.short()).min(self.rest.len());
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        head
    }
}
