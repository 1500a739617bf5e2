"""Image transforms that torchvision lacks, with the random draws of Dassl's."""

import random

import numpy as np
import torch
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode


class Random2DTranslation:
    """With probability `p` enlarge a PIL image to 9/8 of (height, width) and crop it at random; else only resize it."""

    def __init__(self, height, width, p=0.5, interpolation=InterpolationMode.BILINEAR):
        self.height = height
        self.width = width
        self.p = p
        self.interpolation = interpolation

    def __call__(self, image):
        if random.uniform(0, 1) > self.p:
            return F.resize(image, [self.height, self.width], self.interpolation)
        height, width = round(self.height * 1.125), round(self.width * 1.125)
        image = F.resize(image, [height, width], self.interpolation)
        left = round(random.uniform(0, width - self.width))
        top = round(random.uniform(0, height - self.height))
        return F.crop(image, top, left, self.height, self.width)


class InstanceNormalization:
    """Give each channel of a (C, H, W) tensor mean 0 and standard deviation 1."""

    def __init__(self, eps=1e-8):
        self.eps = eps

    def __call__(self, image):
        mean = image.mean(dim=(1, 2), keepdim=True)
        std = image.std(dim=(1, 2), keepdim=True)
        return (image - mean) / (std + self.eps)


class Cutout:
    """Set `n_holes` random squares of `length` pixels of a (C, H, W) tensor to 0; they may reach over the edge."""

    def __init__(self, n_holes=1, length=16):
        self.n_holes = n_holes
        self.length = length

    def __call__(self, image):
        height, width = image.shape[1:]
        image = image.clone()
        half = self.length // 2
        for _ in range(self.n_holes):
            y = np.random.randint(height)
            x = np.random.randint(width)
            image[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0.0
        return image


class GaussianNoise:
    """With probability `p` add normal noise to a tensor."""

    def __init__(self, mean=0, std=0.15, p=0.5):
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, image):
        if random.uniform(0, 1) > self.p:
            return image
        return image + torch.randn(image.size()) * self.std + self.mean
