"""The ordered journal: records, where they are kept, and how nodes follow them."""
