"""What a run, a comparison and a search show: figures, pages, tables and the lines on the terminal."""
