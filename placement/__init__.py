"""Where sites should stand for given users, a limit for TTFT and a price: exact, and by the order in which Route 53 picks them.

Pure: tables and files in, an answer out. Nobody is asked, nothing is deployed, and nothing here knows Pulumi or AWS's API.
"""

from placement.answer import Answer, place
from placement.question import Generation, Question
from placement.world import Candidate, PlacementError, User, candidates, users_from, users_of

__all__ = [
    "Answer",
    "Candidate",
    "Generation",
    "PlacementError",
    "Question",
    "User",
    "candidates",
    "place",
    "users_from",
    "users_of",
]
