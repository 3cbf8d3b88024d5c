"""From the text of a reply to its answer, by kind of answer."""
