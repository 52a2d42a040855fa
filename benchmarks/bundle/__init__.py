"""What an app developer takes: the file, its contract in words, golden pictures and answers, ports, and a verifier."""
