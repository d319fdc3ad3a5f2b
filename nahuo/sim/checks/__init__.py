"""What must hold: cheap promises after every event, and all of them when the storm is over and everything has come to rest.

Ids are those of docs/rules.md section 10 (I…), of the reliability notes (REL-I…) and of the pitfalls (P…). Each check says which promise
broke, for whom, and by how much, in one line.
"""
