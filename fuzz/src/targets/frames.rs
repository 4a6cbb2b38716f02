//! Frames: what clients and replicas say over TCP, and replicas to each other.

use common::frame::{LENGTH_BYTES, append_frame};
use common::{
    Answer, ClientFrame, FrameBuffer, FrameError, Outcome, PROTOCOL_VERSION, ServerFrame,
    WireLimits,
};
use kvpaxos_server::identity::ClusterSettings;
use kvpaxos_server::peers::{PeerFrame, PeerGreeting, append_peer_frame, peer_frame_bytes_max};

use super::cuts;

/// A stream, from a client to a replica or back; and the payload of one frame.
pub fn client_frames(input: &[u8]) {
    let limits = WireLimits::default();
    let outcome = check_stream(input, limits.frame_bytes_max);
    for payload in outcome.payloads.iter().map(Vec::as_slice).chain([input]) {
        check_client_payload(payload, &limits);
    }
}

/// A stream between replicas, and the payload of one frame.
pub fn peer_frames(input: &[u8]) {
    let frame_bytes_max = peer_frame_bytes_max(&ClusterSettings::default());
    let outcome = check_stream(input, frame_bytes_max);
    for payload in outcome.payloads.iter().map(Vec::as_slice).chain([input]) {
        check_peer_payload(payload);
    }
}

fn check_client_payload(payload: &[u8], limits: &WireLimits) {
    let request = ClientFrame::decode(payload, limits);
    let answer = ServerFrame::decode(payload);
    assert!(
        request.is_err() || answer.is_err(),
        "both directions: {request:?} {answer:?}"
    );
    let mut again = Vec::new();
    match &request {
        Ok(ClientFrame::Hello(hello)) if hello.version > PROTOCOL_VERSION => return,
        Ok(ClientFrame::Hello(hello)) => hello.append_to(&mut again),
        Ok(ClientFrame::Request(request)) => request.append_to(&mut again),
        Err(error) => check_answer(&Answer {
            tag: error.tag.unwrap_or(0),
            leader: None,
            outcome: Outcome::Refused(error.refusal()),
        }),
    }
    match &answer {
        Ok(ServerFrame::Greeting(greeting)) if greeting.version > PROTOCOL_VERSION => return,
        Ok(ServerFrame::Greeting(greeting)) => greeting.append_to(&mut again),
        Ok(ServerFrame::Answer(answer)) => answer.append_to(&mut again),
        Err(_) => {}
    }
    check_same(&again, payload);
}

/// What is answered to a request that cannot be read can itself be read.
fn check_answer(answer: &Answer) {
    let mut frame = Vec::new();
    answer.append_to(&mut frame);
    let read = Answer::decode(&frame[LENGTH_BYTES..]);
    assert_eq!(read.as_ref(), Ok(answer));
}

fn check_peer_payload(payload: &[u8]) {
    let mut again = Vec::new();
    if let Ok(frame) = PeerFrame::decode(payload) {
        append_peer_frame(&mut again, frame.rests_on, &frame.message);
    }
    if let Ok(greeting) = PeerGreeting::decode(payload) {
        greeting.append_to(&mut again);
    }
    check_same(&again, payload);
}

/// There is one way to write a message: the frame `again` of what was read, if it could be read, is that of `payload`.
fn check_same(again: &[u8], payload: &[u8]) {
    if !again.is_empty() {
        let mut frame = Vec::new();
        append_frame(&mut frame, |out| out.extend_from_slice(payload));
        assert_eq!(again, frame);
    }
}

/// What came of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamOutcome {
    payloads: Vec<Vec<u8>>,
    error: Option<FrameError>,
    /// What is left of it, of a frame that has not come whole.
    pending: Vec<u8>,
}

/// Frames are the same however the stream is cut in two.
fn check_stream(input: &[u8], frame_bytes_max: u32) -> StreamOutcome {
    let whole = read_stream(&[input], frame_bytes_max);
    for cut in cuts(input.len()) {
        let (one, two) = input.split_at(cut);
        let pieces = read_stream(&[one, two], frame_bytes_max);
        assert_eq!(pieces.payloads, whole.payloads, "cut at {cut}");
        assert_eq!(pieces.error, whole.error, "cut at {cut}");
        // Nothing is taken after an error, so how much there is then depends on the pieces.
        assert!(pieces.error.is_some() || pieces.pending == whole.pending);
    }
    whole
}

fn read_stream(pieces: &[&[u8]], frame_bytes_max: u32) -> StreamOutcome {
    let mut frames = FrameBuffer::new(frame_bytes_max);
    let mut outcome = StreamOutcome::default();
    for piece in pieces {
        frames.extend(piece);
        loop {
            match frames.next_frame() {
                Ok(Some(payload)) => outcome.payloads.push(payload.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(frames.next_frame(), Err(error), "an error stays");
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }
    assert_eq!(frames.buffered_bytes(), frames.pending().len());
    outcome.pending = frames.pending().to_vec();
    outcome
}
