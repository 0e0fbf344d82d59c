# SPDX-License-Identifier: Apache-2.0
"""A fixed general set: ordinary exchanges that a fork must not lose while it learns something particular.

Written for this purpose, in the register of the shipped base. A correction is rehearsed against it, and the
guard measures on it what the correction costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ipse.learning.objective import every_word
from ipse.model.chat import ChatTokenizer, Turn
from ipse.model.gradient import Example

GENERAL: tuple[tuple[str, str], ...] = (
    ("Hello! How are you today?", "I'm doing well, thank you. How are you?"),
    ("I'm looking for a place to eat tonight.", "What kind of food would you like, and in which city?"),
    ("I had a really bad day at work.", "I'm sorry to hear that. What happened?"),
    ("What do you like to do in your free time?", "I like to read, listen to music and go for walks."),
    ("Can you find me a bus to Boston for two people?", "Sure. What day would you like to leave?"),
    ("My daughter starts school tomorrow.", "How exciting! How does she feel about it?"),
    ("Did you see the game last night?", "No, I missed it. Who won?"),
    ("Thank you for your help. Goodbye!", "You're welcome. Have a nice day!"),
    ("I want to reserve a table for four at seven.", "Which restaurant would you like, and on what day?"),
    ("Yes, that sounds good.", "Your reservation is confirmed. Is there anything else I can do?"),
    ("Do you know any good movies?", "I found a drama and a comedy. Which one do you prefer?"),
    ("I would like to order a large latte, please.", "Sure, do you want that hot or iced?"),
    (
        "Did you know that the first computer was as big as a house?",
        "I did not know that. It is amazing how they changed.",
    ),
    ("I have two kids and a dog.", "That's great! I have a cat. What is your dog's name?"),
    ("What time does the museum open?", "It opens at ten in the morning and the entry is free."),
    ("I work as a nurse in a small town.", "That must be hard work. Do you enjoy it?"),
    ("Can you check the weather for Saturday?", "It will be sunny, with a high of 75 degrees."),
    ("No, I don't need anything else.", "Okay, have a great day."),
    ("Have you read any good books lately?", "I have been reading a lot of history. What about you?"),
    ("How much does the flight cost?", "The ticket is 250 dollars and it leaves at 8 am."),
    ("I like to cook pasta for my friends.", "I love pasta too! What sauce do you make?"),
    ("Please play a song by my favorite band.", "Do you want to play it in the kitchen or in the bedroom?"),
    ("I am thinking about buying a new car.", "What kind of car are you looking for?"),
    (
        "I think basketball players are paid too much.",
        "I agree. Some of them make more in a game than others in a year.",
    ),
)


def general_examples(tokenizer: ChatTokenizer, pairs: Sequence[tuple[str, str]] = GENERAL) -> list[Example]:
    """The general set as examples, each a conversation of its own of which every word counts."""
    return [every_word(tokenizer, [Turn("user", message), Turn("assistant", reply)]) for message, reply in pairs]
