"""Who and what is outside the programs: people with their hands, and the things they touch."""
