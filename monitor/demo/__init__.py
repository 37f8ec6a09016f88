"""Test feeds that vqwatch plays to itself: scenes, scripted impairments and a player process."""
