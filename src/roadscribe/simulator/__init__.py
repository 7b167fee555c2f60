"""A test track: small procedural drives seen through a dashcam, with exact ground truth.

Every drive comes from one seed: a road with 1 to 5 lanes and one curvature, traffic, people, a traffic
light, weather and a time of day, and an ego car that cruises, brakes, accelerates or stands. The picture
holds everything that the truth speaks of, and landmarks stand at random spacings so that motion between
frames tells the speed.

What it cannot show: no real textures, no hills, junctions or lane changes, one traffic light and one radius
a drive; the camera is level and does not shake, glare or get dirty. Other cars keep a fixed share of the
ego's speed (oncoming ones a fixed speed) and react to nobody; there are no cyclists, parked or turning cars,
no animals, no signs with a meaning, and lights and people where real roads seldom have them (a signal in a
tunnel). Vehicles appear at 65 m at most, closer in haze and behind bends; signal heads and painted lines are
larger than real ones, so that 320x192 pixels can show them. In a tunnel the sky is hidden, so the weather is
unknown. A score on these drives says that a model and its training work, not that it can see real roads.
"""

from roadscribe.simulator.drive import Drive, make_drive
from roadscribe.simulator.record import write_drives
from roadscribe.simulator.world import HEIGHT, WIDTH

__all__ = ["HEIGHT", "WIDTH", "Drive", "make_drive", "write_drives"]
