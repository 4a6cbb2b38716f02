//! Messages as text: the notation of golden scripts and debug logs.

use std::fmt;

use super::{AcceptedCommand, Envelope, Message};
use crate::space::Space;

impl fmt::Display for Message {
    /// The variant, then the fields that tell messages apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canvass {
                nonce,
                chosen_watermark,
            } => write!(f, "Canvass nonce={nonce} chosen<{chosen_watermark}"),
            Self::CanvassReply {
                nonce,
                follow,
                leader,
                chosen_watermark,
                ..
            } => {
                let follow = if *follow { "yes" } else { "no" };
                write!(
                    f,
                    "CanvassReply nonce={nonce} {follow} chosen<{chosen_watermark}"
                )?;
                leader.map_or(Ok(()), |leader| write!(f, " leader={leader}"))
            }
            Self::Prepare { ballot, from_slot } => write!(f, "Prepare {ballot} from={from_slot}"),
            Self::Promise {
                ballot,
                part,
                parts,
                accepted,
                chosen_watermark,
                ..
            } => {
                let accepted = listed(accepted);
                write!(
                    f,
                    "Promise {ballot} chosen<{chosen_watermark} accepted=[{accepted}]"
                )?;
                if *parts > 1 {
                    write!(f, " part={}/{parts}", part + 1)?;
                }
                Ok(())
            }
            Self::Accept {
                ballot,
                slot,
                command,
                chosen_watermark,
            } => write!(
                f,
                "Accept {ballot} slot={slot} {command} chosen<{chosen_watermark}"
            ),
            Self::Accepted { ballot, slots, .. } => {
                write!(f, "Accepted {ballot} slots=[")?;
                for (place, slot) in slots.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{slot}")?;
                }
                f.write_str("]")
            }
            Self::Refused {
                ballot,
                promised,
                hears_leader,
            } => {
                let heard = if *hears_leader { "heard" } else { "not-heard" };
                write!(f, "Refused {ballot} promised={promised} leader-{heard}")
            }
            Self::Heartbeat {
                ballot,
                nonce,
                chosen_watermark,
                has_majority,
                space,
                ..
            } => {
                let alone = if *has_majority {
                    ""
                } else {
                    " without-majority"
                };
                write!(
                    f,
                    "Heartbeat {ballot} nonce={nonce} chosen<{chosen_watermark}{alone}"
                )?;
                write_space(f, *space)
            }
            Self::Echo {
                ballot,
                nonce,
                space,
                ..
            } => {
                write!(f, "Echo {ballot} nonce={nonce}")?;
                write_space(f, *space)
            }
            Self::Advance {
                ballot,
                chosen_watermark,
            } => write!(f, "Advance {ballot} chosen<{chosen_watermark}"),
            Self::TakeOver { ballot } => write!(f, "TakeOver {ballot}"),
            Self::CatchUp { from_slot } => write!(f, "CatchUp from={from_slot}"),
            Self::Chosen {
                from_slot,
                commands,
                chosen_watermark,
                ..
            } => write!(
                f,
                "Chosen from={from_slot} count={} chosen<{chosen_watermark}",
                commands.len()
            ),
            Self::ReadQuery { nonce } => write!(f, "ReadQuery nonce={nonce}"),
            Self::ReadAnswer {
                nonce,
                read_watermark,
            } => write!(f, "ReadAnswer nonce={nonce} applied<{read_watermark}"),
            Self::PrepareInstances {
                ballot,
                min,
                chosen,
            } => write!(
                f,
                "PrepareInstances {ballot} min={min} known=[{}]",
                listed(chosen)
            ),
            Self::PromiseInstances {
                ballot,
                part,
                parts,
                min,
                chosen,
                accepted,
                ..
            } => {
                let (chosen, accepted) = (listed(chosen), listed(accepted));
                write!(
                    f,
                    "PromiseInstances {ballot} min={min} known=[{chosen}] accepted=[{accepted}]"
                )?;
                if *parts > 1 {
                    write!(f, " part={}/{parts}", part + 1)?;
                }
                Ok(())
            }
            Self::EchoInstances {
                ballot,
                nonce,
                done_watermark,
                learned,
                ..
            } => write!(
                f,
                "EchoInstances {ballot} nonce={nonce} done<{done_watermark} learned=[{}]",
                listed(learned)
            ),
            Self::ForwardInstance {
                slot,
                relayed,
                command,
            } => {
                let how = if *relayed { " relayed" } else { "" };
                write!(f, "ForwardInstance slot={slot} {command}{how}")
            }
            Self::ChosenInstance { slot, command } => {
                write!(f, "ChosenInstance slot={slot} {command}")
            }
            Self::ForgottenInstances { min } => write!(f, "ForgottenInstances min={min}"),
        }
    }
}

impl fmt::Display for AcceptedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.slot, self.ballot, self.command)
    }
}

/// Nothing of the ordinary case.
fn write_space(f: &mut fmt::Formatter<'_>, space: Space) -> fmt::Result {
    match space {
        Space::Ample => Ok(()),
        Space::Reserve | Space::Spent => write!(f, " space={space}"),
    }
}

/// The items with commas between them.
fn listed(items: &[impl fmt::Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.from, self.to, self.message)
    }
}
