"""The three parties. They exchange bytes and nothing else.

user.ask -> hospital.forward -> cloud.answer -> hospital.report -> user.read
"""

from ompd.roles.cloud import Cloud
from ompd.roles.hospital import Batch, Hospital
from ompd.roles.party import Party, introduce
from ompd.roles.user import Diagnosis, User

__all__ = ["Batch", "Cloud", "Diagnosis", "Hospital", "Party", "User", "introduce"]
