# SPDX-License-Identifier: Apache-2.0
"""What bytes mean: names, digests, compression, the coding of an update, the protobuf schema of a record."""
