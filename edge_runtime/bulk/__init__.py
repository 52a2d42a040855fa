"""Pictures by the thousand: answers in a file, each picture once, in several processes; watched folders."""
