"""UCF101's middle frames from its videos, for those who have the videos and not CoOp's archive of frames."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from lamm_cl.data.download.network import DownloadError

Grab = Callable[[Path, Path], None]


def middle_frames(videos: Path, target: Path, grab: Grab | None = None) -> int:
    """Write the middle frame of every video as a JPEG, in folders that are called as CoOp calls them.

    `ApplyEyeMakeup/v_x.avi` becomes `Apply_Eye_Makeup/v_x.jpg`. Frames are gathered in a hidden folder that a later
    call continues; the target appears when all are there. How CoOp's frames were compressed is not known, so
    pixels differ a little from those of its archive.

    Args:
        videos: the folder `UCF-101`, with one folder per action.
        target: the folder `UCF-101-midframes`.
        grab: takes a video and a path, and writes the frame there; default: ffmpeg.

    Returns:
        The number of frames.

    Raises:
        DownloadError: there is no video, no ffmpeg, or a video that cannot be read.
    """
    found = sorted(videos.glob("*/*.avi"))
    if not found:
        raise DownloadError(f"{videos}: holds no video such as ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")
    write = grab or _ffmpeg
    gathered = target.with_name(f".{target.name}.part")
    for video in found:
        frame = gathered / action_folder(video.parent.name) / f"{video.stem}.jpg"
        if frame.exists():
            continue
        frame.parent.mkdir(parents=True, exist_ok=True)
        half = frame.with_name(f".{frame.name}.part.jpg")
        write(video, half)
        half.replace(frame)
    gathered.replace(target)
    return len(found)


def action_folder(action: str) -> str:
    """Return CoOp's folder name of an action: `ApplyEyeMakeup` is `Apply_Eye_Makeup`."""
    return "_".join(re.findall(r"[A-Z][^A-Z]*", action)) or action


def _ffmpeg(video: Path, frame: Path) -> None:
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        raise DownloadError("ffmpeg and ffprobe are needed to take frames from videos: install ffmpeg")
    ask = "ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0"
    middle = int(_run(*ask.split(), str(video)).strip().strip(",") or 0) // 2
    choose = rf"select=eq(n\,{middle})"
    _run("ffmpeg", "-v", "error", "-y", "-i", str(video), "-vf", choose, "-frames:v", "1", "-q:v", "2", str(frame))
    if not frame.is_file():
        raise DownloadError(f"{video}: ffmpeg found no frame {middle}")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
