//! Any changes of the table of judgements, in any order, while any word of it is overwritten.
//!
//! Readers and writers come to an end, without a panic and within the memory, whatever it holds. As long as
//! nothing was overwritten, a key is answered with a text that was stored for it, and a reader without the lock says
//! what one with it says.

use authgear_tables::judgements::{
    Answer, Dimensions, Failure, Key, Table, Text, Token, TryLease, Verdict, Writer, CONSTANT,
};

use crate::memory::{Input, Memory};

const NOW: u64 = 1 << 42;

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let dimensions = Dimensions::within(usize::from(input.byte()) << 6);
    let memory = Memory::new(dimensions.size(), 0xa5);
    // SAFETY: the memory is aligned, as long as the table, and nobody else's.
    let table: Table<'_> = unsafe { Table::new(Table::place(memory.start(), dimensions, [1; 16])) };
    // SAFETY: there is one thread.
    let mut writer = unsafe { Writer::new(table) };
    let constant = CONSTANT.map(|offset| offset / 8);
    let (mut now, mut lease, mut is_sound) = (NOW, None, true);
    while !input.is_over() {
        let command = input.byte();
        now += u64::from(command >> 4);
        let number = input.byte() % 32;
        match command % 12 {
            0 => {
                is_sound = false;
                memory.scribble(&mut input, &constant);
            }
            1 => check(&mut writer, number, now, is_sound),
            2 => {
                if let TryLease::Taken(number) =
                    writer.try_lease(&key(number), now + u64::from(input.byte()), now)
                {
                    lease = Some(number);
                }
            }
            3 => writer.release(&key(number), lease.unwrap_or(0)),
            4 => writer.postpone(&key(number), lease, now + u64::from(input.byte()), now),
            5 if is_session(number) => {
                let failure = Failure {
                    at: now,
                    is_outage: command > 127,
                };
                let _ = writer.keep_yes(&key(number), lease, failure, now);
            }
            6..9 => store(&mut writer, &mut input, number, lease, now),
            9 | 10 if !is_session(number) => {
                let record = [b't', number].repeat(1 + usize::from(input.short()) % 300);
                let token = Token {
                    digest: [number; 16],
                    record: &record,
                    prefix: 34.min(record.len()),
                    expires_at: now + input.value() % 1000,
                };
                writer.store_token(&key(number), &token, now);
            }
            _ => {
                let _ = (
                    writer.take_warning(),
                    writer.set_failing(number.into(), command > 127),
                );
                let _ = (
                    writer.losses(),
                    writer.fill(),
                    writer.is_failing(number.into()),
                );
            }
        }
    }
    (0..32).for_each(|number| check(&mut writer, number, now, is_sound));
}

/// No key is that of a session and of a token.
fn is_session(number: u8) -> bool {
    number % 2 == 1
}

/// Two digests in three share a bucket and a tag.
fn key(number: u8) -> Key {
    let mut digest = [number / 3; 16];
    digest[15] = number % 3 / 2;
    digest[8] = number;
    digest[7] = number << 3;
    Key {
        tenant: [number % 4; 32],
        digest,
    }
}

fn store(writer: &mut Writer<'_>, input: &mut Input<'_>, number: u8, lease: Option<u64>, now: u64) {
    const OF_SESSIONS: [Verdict; 4] = [
        Verdict::Yes,
        Verdict::TooLarge,
        Verdict::No,
        Verdict::Failed,
    ];
    const OF_TOKENS: [Verdict; 5] = [
        Verdict::Confirmed,
        Verdict::No,
        Verdict::Denied,
        Verdict::Failed,
        Verdict::Unclear,
    ];
    let verdicts: &[Verdict] = match is_session(number) {
        true => &OF_SESSIONS,
        false => &OF_TOKENS,
    };
    let how = input.byte();
    let session = [b's', number].repeat(usize::from(input.short()) % 260);
    let answer = Answer {
        verdict: verdicts[usize::from(how) % verdicts.len()],
        session: &session,
        not_after: now.saturating_add(input.value()),
        live_until: now + u64::from(input.byte()),
    };
    let _ = writer.store(&key(number), lease.filter(|_| how > 127), &answer, now);
}

fn check(writer: &mut Writer<'_>, number: u8, now: u64, is_sound: bool) {
    let (mut text, mut own) = (Text::new(), Text::new());
    let without = Table::read(writer, &key(number), now, Some(&mut text));
    let with = writer.read(&key(number), now, Some(&mut own));
    assert!(text.bytes().len() <= 496 && own.bytes().len() <= 496);
    if !is_sound {
        return;
    }
    assert_eq!(without, Ok(with));
    let kind = match (with.token, with.verdict) {
        (Some(token), _) => {
            assert_eq!(token.digest, [number; 16]);
            b't'
        }
        (None, Some((Verdict::Yes, _))) => b's',
        _ => return,
    };
    assert_eq!(text.bytes(), own.bytes());
    assert!(text
        .bytes()
        .chunks(2)
        .all(|pair| pair == [kind, number] || pair == [kind]));
}
