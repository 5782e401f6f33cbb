"""Query/Retrieve as service user (PS3.4 Annex C): asking archives for studies and what they hold.

Answers come from peers and are judged: bounded in number, size and time, compared with what was
asked for, and made into plain values before anybody else sees them.
"""
