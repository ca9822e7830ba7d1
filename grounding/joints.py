"""The joints of a person, in the order in which keypoint adapters count them."""

__all__ = ["JOINTS"]

JOINTS = (  # COCO person keypoints, https://cocodataset.org/#keypoints-2020
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
