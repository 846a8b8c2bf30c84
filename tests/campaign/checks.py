"""All checks, and all that can be broken on purpose."""

from campaign import damage, disks, fuzz, growth, kill, plants, surroundings, thorough
from campaign.jobs import Check

CHECKS: tuple[Check, ...] = (
    *kill.CHECKS,
    *fuzz.CHECKS,
    *damage.CHECKS,
    *disks.CHECKS,
    *surroundings.CHECKS,
    *growth.CHECKS,
    *thorough.CHECKS,
)
PLANTS = plants.PLANTS
