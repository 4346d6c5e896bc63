//! As much of JSON as an agent needs.

use std::collections::BTreeMap;

/// A value.
pub enum Json {
    Null,
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
    /// Numbers and booleans, as they are written.
    Word(String),
}

/// What is not there.
static NOTHING: Json = Json::Null;

impl Json {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            at: 0,
        };
        reader.value(0)
    }

    /// A field; nothing when there is none.
    pub fn get(&self, name: &str) -> &Self {
        match self {
            Self::Object(fields) => fields.get(name).unwrap_or(&NOTHING),
            _ => &NOTHING,
        }
    }

    /// An item; nothing when there is none.
    pub fn at(&self, index: usize) -> &Self {
        match self {
            Self::List(items) => items.get(index).unwrap_or(&NOTHING),
            _ => &NOTHING,
        }
    }

    /// Text or number; empty when it is neither.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Word(text) => text,
            _ => "",
        }
    }
}

/// A text as JSON.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => quoted += &format!("\\u{:04x}", control as u32),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > 100 {
            return Err("too deep".to_owned());
        }
        match self.next()? {
            b'"' => self.text().map(Json::Text),
            b'[' => {
                let mut items = Vec::new();
                while self.peek()? != b']' {
                    items.push(self.value(depth + 1)?);
                    self.skip(b',')?;
                }
                self.at += 1;
                Ok(Json::List(items))
            }
            b'{' => {
                let mut fields = BTreeMap::new();
                while self.peek()? != b'}' {
                    self.at += 1;
                    let name = self.text()?;
                    self.skip(b':')?;
                    fields.insert(name, self.value(depth + 1)?);
                    self.skip(b',')?;
                }
                self.at += 1;
                Ok(Json::Object(fields))
            }
            _ => {
                let from = self.at - 1;
                while self
                    .bytes
                    .get(self.at)
                    .is_some_and(|byte| !b",]} \t\r\n".contains(byte))
                {
                    self.at += 1;
                }
                let word = String::from_utf8_lossy(&self.bytes[from..self.at]).into_owned();
                Ok(if word == "null" { Json::Null } else { Json::Word(word) })
            }
        }
    }

    /// The rest of a text after its quote.
    fn text(&mut self) -> Result<String, String> {
        let mut found = Vec::new();
        loop {
            let byte = *self.bytes.get(self.at).ok_or("a text without an end")?;
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(found).map_err(|error| error.to_string()),
                b'\\' => {
                    let escaped = *self.bytes.get(self.at).ok_or("a text without an end")?;
                    self.at += 1;
                    let letter = match escaped {
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => self.escape()?,
                        other => other as char,
                    };
                    found.extend(letter.to_string().as_bytes());
                }
                other => found.push(other),
            }
        }
    }

    /// Four digits, or twice four for what does not fit in them.
    fn escape(&mut self) -> Result<char, String> {
        let first = self.four()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.four()?;
            0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
        } else {
            first
        };
        Ok(char::from_u32(code).unwrap_or('\u{fffd}'))
    }

    fn four(&mut self) -> Result<u32, String> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or("an escape without an end")?;
        self.at += 4;
        let digits = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
        u32::from_str_radix(digits, 16).map_err(|error| error.to_string())
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Result<u8, String> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes
            .get(self.at)
            .copied()
            .ok_or_else(|| "it ends too early".to_owned())
    }

    fn skip(&mut self, byte: u8) -> Result<(), String> {
        if self.peek()? == byte {
            self.at += 1;
        }
        Ok(())
    }
}
