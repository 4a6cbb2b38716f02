//! Integration tests.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cluster_agents;
#[cfg(test)]
mod cluster_answers;
#[cfg(test)]
mod cluster_clients;
#[cfg(test)]
mod cluster_disk;
#[cfg(test)]
mod cluster_disks;
#[cfg(test)]
mod cluster_faults;
#[cfg(test)]
mod cluster_full_disk;
#[cfg(test)]
mod cluster_history;
#[cfg(test)]
mod cluster_junk;
#[cfg(test)]
mod cluster_junk_datagrams;
#[cfg(test)]
mod cluster_kills;
#[cfg(test)]
mod cluster_load;
#[cfg(test)]
mod cluster_memory;
#[cfg(test)]
mod cluster_nemesis;
#[cfg(test)]
mod cluster_pauses;
#[cfg(test)]
mod cluster_peer_faults;
#[cfg(test)]
mod cluster_retries;
#[cfg(test)]
mod cluster_rot;
#[cfg(test)]
mod cluster_snapshots;
#[cfg(test)]
mod cluster_speed;
#[cfg(test)]
mod cluster_stop;
#[cfg(test)]
mod cluster_unreliable;
#[cfg(test)]
mod datagram_exchange;
#[cfg(test)]
mod datagrams;
#[cfg(test)]
mod example_client;
#[cfg(test)]
mod failing_disk;
#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
#[path = "../../../fuzz/src"]
#[allow(unreachable_pub, reason = "the fuzzer's own crate gives them out")]
mod fuzz {
    pub(crate) mod targets;
}
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod journal_bits;
#[cfg(test)]
mod journal_crashes;
#[cfg(test)]
mod journal_damage;
#[cfg(test)]
mod journal_rig;
#[cfg(test)]
mod journal_thread;
#[cfg(test)]
mod journal_trim;
#[cfg(test)]
mod library;
#[cfg(test)]
mod library_faults;
#[cfg(test)]
mod library_group;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod mutilation;
#[cfg(test)]
mod node;
#[cfg(test)]
mod node_agents;
#[cfg(test)]
mod node_disk_space;
#[cfg(test)]
mod node_founding;
#[cfg(test)]
mod node_hashes;
#[cfg(test)]
mod node_keys;
#[cfg(test)]
mod node_rules;
#[cfg(test)]
mod node_sessions;
#[cfg(test)]
mod one_full_disk;
#[cfg(test)]
mod one_replica;
#[cfg(test)]
mod operations_page;
#[cfg(test)]
mod peers_cases;
#[cfg(test)]
mod peers_codec;
#[cfg(test)]
mod peers_greeting;
#[cfg(test)]
mod peers_links;
#[cfg(test)]
mod process;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod raw_client;
#[cfg(test)]
mod raw_datagrams;
#[cfg(test)]
mod real_disk;
#[cfg(test)]
mod refused_directories;
#[cfg(test)]
mod rules_page;
#[cfg(test)]
mod server;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod small_disk;
#[cfg(test)]
mod snapshot_files;
#[cfg(test)]
mod snapshot_room;
#[cfg(test)]
mod strace;
#[cfg(test)]
mod strace_sweep;
#[cfg(test)]
mod tagged_writes;
#[cfg(test)]
mod testing_page;
#[cfg(test)]
mod thin_disk;
#[cfg(test)]
mod warnings;
#[cfg(test)]
mod workers;
