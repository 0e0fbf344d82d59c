# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - a template is read best in one piece
"""Own requests: stories, emails, jokes, advice, lists, shorter versions, and questions about the world.

Stories and emails take up what the request names (a brave little goat, a note to the boss), so the request has to
be read. Questions about the world are answered with "I don't know", whatever they ask for.
"""

from __future__ import annotations

from random import Random

from tools.base.corpus import Turn
from tools.base.wording import Vocabulary, article, expand, new_name, said, user_case

ANIMALS = "goat,fox,rabbit,bear,mouse,owl,hen,duck,frog,cat,dog,horse,donkey,turtle,hedgehog,lion,elephant,monkey,bird,sheep,pig,wolf,snail,bee,squirrel,penguin,whale,dragon,robot,girl,boy,princess,king,farmer,baker,fisherman,cloud,star,tree,boat,train,giant,witch,wizard,knight,sailor,gardener,crow,camel,crab".split(",")
TRAITS = "brave,little,shy,clever,lazy,kind,curious,hungry,lonely,proud,tiny,old,young,grumpy,happy,quiet,sleepy,gentle,greedy,careful,silly,lost,friendly,blue,white,red,small,big".split(",")
PLACES = "by a river,at the edge of a forest,on a green hill,in a small village,near the sea,in a quiet valley,behind an old mill,under a tall tree,on a windy island,beside a lake".split(",")

STORIES = [
    "Once upon a time {there was|there lived} [a] [place]. Its name was [n]. One {day|morning}, [n] heard {somebody calling for help|a cry}. [o_a] was stuck in {the mud|a deep hole|a thorny bush}. {Everybody else was afraid|The others ran away}, but [n] {went to look|came closer}. {With a long rope|With a strong branch}, [n] pulled and pulled, until [o_the] was free. {\"Thank you,\" said [o_the]. \"You have a good heart.\"|From that day on, they were friends.} {That night everybody in the valley heard the story.|And [n] slept very well that night.}",
    "There was once [a] called [n] who lived [place]. [n] wanted to see {the sea|the top of the mountain|the big city|the snow}. {\"It is too far,\" everybody said.|\"You are too small,\" the others said.} But [n] {packed some bread and left at dawn|set off in the morning}. On the way [n] met [o_a], who was lost. {They shared the bread|They walked on together} and told each other stories. In the evening they stood on the last hill and {saw it at last|looked down in wonder}. {\"It was far,\" said [n], \"but not too far for two.\"|It was even more beautiful than [n] had hoped.}",
    "[A] named [n] lived [place]. Every evening [n] {sang a song|told a joke|lit a small lamp}. {Nobody seemed to care|Nobody ever said thank you}. One night {there was a great storm|a thick fog came down}, and [o_a] lost the way home. {In the dark|Far away}, [o_the] {noticed [n]|thought of [n]} and {followed the sound|walked that way}. {Soon [o_the] was safe and warm|In the end [o_the] stood at the door}. {\"I am glad you are here every night,\" said the guest.|\"You saved me,\" said the guest.} {Now [n] knew that small things matter.|From then on, the two met every evening.}",
    "Once there was [a] who {could not sleep|was afraid of the dark}. Its name was [n]. [n] went to [o_a] and asked for help. {\"Count the stars,\" said [o_the].|\"Listen to the wind,\" said [o_the].} [n] {lay down|sat} [place] and tried it. {One, two, three, four|The night was soft and quiet}. {The sky was not scary at all|It was almost like a song}. Before long [n] was fast asleep. {And the moon smiled.|In the morning [n] said, \"Thank you, my friend.\"}",
    "Long ago [a] found {a golden key|a shining stone|an old map|a strange seed} [place]. \"{I am rich|This is mine}!\" said [n], for that was the name of [the]. But {at home|in the evening} [n] felt {lonely|no joy}. So [n] {showed it to|shared it with} [o_a]. Together they {looked for the place where it belonged|found out what it was for}. {It opened a small garden full of apples|It led them to a garden full of apples}, enough for everybody. {\"Sharing makes more,\" laughed [n].|They ate until the sun went down, and they were happy.}",
    "[n] was [a], and [n] had a problem: {nobody wanted to play|the well was dry|winter was coming and there was no food}. {\"I will think about it,\" said [n].|[n] thought all night.} In the morning [n] asked [o_a] for {advice|help}. {\"Let us work together,\" said [o_the].|\"Two are better than one,\" said [o_the].} They {worked all day|did not give up}. {By the evening, all was well again.|When the sun set, the work was done.} {They sat [place] and watched the stars.|They were tired, but very happy.}",
    "{One summer|One winter|One spring}, [a] named [n] {lost a red hat|lost its way|could not find home}. [n] looked {under every stone|everywhere} [place]. Then [o_a] came by. {\"Why are you sad?\" asked [o_the].|\"Can I help you?\" asked [o_the].} \"{I have lost something|I am lost},\" said [n]. {They looked together, left and right, up and down.|\"Come with me,\" said the other, and they walked side by side.} {In the end they found it.|At last it all turned out well.} {\"I lost one thing and found a friend,\" said [n].|And they stayed friends for the rest of their lives.}",
]
STORY_SHORT = "[A] called [n] {helped|met} [o_a] [place]. {They became friends.|They were happy ever after.|In the end all was well.}"
STORY_ASKS = [
    "{Tell me|Can you tell me|Please tell me|Write|Write me|I want to hear|Make up} {a|a short} story about [a]{.|, please.|.}",
    "{Tell me|Can you tell me|Write me} a {bedtime |little |nice |short |}story about [a] and [o_a].",
    "{Do you know|Have you got} a story about [a]?",
]
STORY_ANY = "{Tell me a story|Tell me a short story|Can you tell me a story|I want to hear a story|Tell me a bedtime story|Write a short story|Make up a story}{.|, please.}"

EMAILS: list[tuple[str, str, str]] = [
    ("{I am sick|I'm sick today|I am ill|I cannot come because I am sick|I'm not feeling well}", "I am {sick|not feeling well} today and {cannot come to work|will stay at home|need to rest}. {I hope to be back tomorrow.|I will write again tomorrow.|I am sorry for the trouble.}", "I am sick today and will stay at home."),
    ("{I will be late|I am late|I'm running late|my {train|bus} is late}", "I am sorry, {but I will be late today|I am running late}. {My {train|bus} was delayed.|I will be there as soon as I can.|Please start without me.}", "I will be a little late today. Sorry!"),
    ("{I need a day off|I want a day off|I would like to take Friday off|I want to take a holiday}", "I would like to {take a day off|have {Friday|Monday|next week} off}. {Would that be possible?|Please let me know if that is all right.|I will finish my work before that.}", "May I take a day off?"),
    ("{thank you|thanks for the help|thank you for your help|thanks for the gift|I am grateful}", "{Thank you so much|Many thanks} for your {help|kindness|time|support}. {It meant a lot to me.|I really appreciate it.|You made my day.}", "Thank you so much for everything."),
    ("{we should meet|I want to meet|let's meet for lunch|I would like to meet on [d]}", "{Would you like to|Shall we} meet on [d]{ for lunch| for coffee|}? {Please let me know what time suits you.|I look forward to it.|I would be happy to see you.}", "Shall we meet on [d]?"),
    ("{the meeting is moved to [d]|the meeting is on [d]|we have to move the meeting}", "{Please note that|A short note:} our meeting is moved to [d]. {I hope that works for you.|Please let me know if you cannot come.|Thank you for your understanding.}", "Our meeting is moved to [d]."),
    ("{I am sorry|I apologize|I made a mistake|I want to say sorry|I forgot our meeting}", "I {am|want to say I am} sorry {about yesterday|for my mistake|that I forgot}. {It will not happen again.|I hope you can forgive me.|Please let me know how I can make it right.}", "I am sorry about my mistake."),
    ("{please come to my party|I have a party on [d]|you are invited|I invite them to dinner on [d]}", "I am having {a party|a small dinner|some friends over} on [d], and {I would love to see you there|you are invited}. {Please let me know if you can come.|There will be good food.|Bring a friend if you like.}", "Please come to my party on [d]!"),
    ("{congratulations|congratulations on the new job|well done|happy birthday}", "{Congratulations|All the best}! {I was so happy to hear the news.|You have worked hard for this.|I am very happy for you.} {Let us celebrate soon.|I wish you all the best.}", "Congratulations, and all the best!"),
    ("{I quit|I am leaving my job|I found a new job|I want to resign}", "I am writing to {let you know|tell you} that I will {leave my job|be leaving} {at the end of the month|in four weeks}. {Thank you for everything I have learned here.|I am grateful for the time with you.}", "I will leave my job at the end of the month. Thank you for everything."),
    ("{where is my order|my order has not arrived|I want my money back|the [x] is broken}", "my {order|[x]} {has not arrived|is not right|arrived broken}. {Could you please look into it?|Please tell me what I can do.} {Thank you for your help.|I look forward to your answer.}", "There is a problem with my order. Could you please help?"),
    ("{please send the [x]|I need the [x]|don't forget the [x]|they should bring the [x]}", "{could you please|would you be so kind and} {send|bring} me the [x]{ by [d]|}? {Thank you in advance.|That would help me a lot.|Thanks a lot!}", "Please send me the [x]. Thank you!"),
]
WHO = "boss,teacher,friend,landlord,neighbor,mother,colleague,team,manager,doctor,sister,professor,customer,coach,brother,aunt".split(",")
DAYS = "Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday".split(",")
EMAIL_ASKS = [
    "{Can you write me|Please write|Write|Could you write|Help me write|I need|Write me} {a short|an|a polite|a short polite} {email|message|note} to my [w] {saying|saying that|to say that|that says} [r]{.|?|, please.}",
    "{Write|Draft|Please write} {an email|a message|a letter} to my [w]: [r].",
    "{I want|I need} to {email|write to} my [w]. {Tell them|Say|It should say} [r].",
]

JOKES = [
    "Why did the bicycle fall over? Because it was two tired.",
    "What do you call a bear with no teeth? A gummy bear.",
    "Why did the tomato turn red? Because it saw the salad dressing.",
    "What do you call a sleeping bull? A bulldozer.",
    "Why do bees have sticky hair? Because they use honeycombs.",
    "What did one wall say to the other? I'll meet you at the corner.",
    "Why was the math book sad? It had too many problems.",
    "What do you get when you cross a snowman and a dog? Frostbite.",
    "Why can't you trust stairs? They are always up to something.",
    "What kind of music do balloons hate? Pop.",
    "Why did the student eat his homework? The teacher said it was a piece of cake.",
    "What has four wheels and flies? A garbage truck.",
    "How do you make an octopus laugh? With ten tickles.",
    "What do you call cheese that isn't yours? Nacho cheese.",
    "Why did the picture go to jail? It was framed.",
    "Where do cows go on Friday night? To the moovies.",
    "What did the big flower say to the little flower? Hi, bud!",
    "Why don't eggs tell jokes? They would crack up.",
    "I tried to learn everything about the world, but I am a small model, so I stopped at hello.",
    "Why did the computer go to the doctor? It had a virus.",
]
ADVICE: list[tuple[str, list[str]]] = [
    ("{How can I|How do I|What helps to} {sleep better|fall asleep}?", ["Go to bed at the same time every day, and keep your phone out of the room.", "Try a dark, cool room, and no coffee after noon.", "Read a few quiet pages before bed."]),
    ("{How can I|How do I} {relax|calm down|deal with stress|stress less}?", ["Take ten slow breaths, then do one thing at a time.", "A short walk outside helps many people.", "Make a short list, do the smallest thing first, and take a break."]),
    ("{How can I|How do I} {make friends|meet new people|find friends}?", ["Join a club or a class for something you enjoy, and go more than once.", "Ask people about themselves, and listen.", "Say yes to small invitations, and invite somebody for a coffee."]),
    ("{How can I|How do I|What is the best way to} {learn a language|learn Spanish|learn English|learn French}?", ["A little every day is better than a lot once a week.", "Learn ten useful sentences and use them with a real person.", "Listen to songs and films in that language, and speak from the first day."]),
    ("{How can I|How do I} {study better|prepare for an exam|remember things better|focus}?", ["Work for half an hour without your phone, then take a short break.", "Explain it to somebody else in your own words.", "Start early, repeat often, and sleep well the night before."]),
    ("{How can I|How do I} {save money|spend less}?", ["Write down what you spend for a month. Then cut the one thing you miss least.", "Cook at home more often, and make a list before you shop.", "Put a small amount aside on the day you are paid."]),
    ("{How do I|How can I} {get fit|start running|exercise more|lose weight|get healthy}?", ["Start small: a short walk every day is better than one big plan.", "Choose a sport that you enjoy, and do it with a friend.", "Begin slowly, and ask a doctor if you are unsure."]),
    ("What {should|can|could} I {give|buy|get} my {mother|father|friend|sister|brother|wife|husband|teacher} {for their birthday|as a present|for a birthday}?", ["Something they can enjoy with you: a dinner, a trip, or a concert.", "A good book and a card you wrote yourself.", "Flowers or something home-made are always nice. What do they like?"]),
    ("{How do I|How should I} prepare for {a job interview|an interview}?", ["Read about the company, practice a few answers aloud, and arrive early.", "Think of two good stories about your work, and bring a question of your own.", "Sleep well, dress neatly, and be yourself."]),
    ("{How can I say sorry|How do I apologize|I had a fight with my {friend|wife|husband|brother|sister}, what should I do|How do I make up with a friend}?", ["Say what you did, say that you are sorry, and ask how you can make it right.", "Talk when both of you are calm, and listen first.", "A short, honest message is a good start."]),
    ("{What should I wear|What should I wear to a wedding|What should I wear to a party}?", ["Something you feel good in, and comfortable shoes.", "Ask the host how formal it is. A neat shirt or dress is rarely wrong.", "I would pick something simple and add one nice thing."]),
    ("{Where should I go on vacation|Where should I travel|I need a vacation. Any ideas}?", ["Do you like the sea, the mountains or a city? Start with that.", "I don't know many places, but somewhere quiet by the water sounds nice.", "Ask a friend about the best trip they ever had."]),
    ("{What should I read|Can you recommend a book|What book should I read}?", ["I don't know many books. What kind of story do you like?", "Tell me the last book you loved, and look for another one by the same writer.", "Your library can help better than I can. Do you like crime, love or adventure?"]),
    ("{Should I|Do you think I should} {quit my job|move to another city|buy a car|get a dog|call her|call him|tell the truth|go to the party}?", ["Only you can decide that. What speaks for it, and what against?", "Write down the good and the bad sides, and sleep on it.", "What does your heart say? And what would a good friend tell you?"]),
    ("{How do I|How can I} {cook rice|make tea|make coffee|make pancakes|boil an egg}?", ["I am no great cook. A recipe will tell you better, but go slowly and taste often.", "Take your time, use a timer, and follow a simple recipe.", "Start with a simple recipe. What do you have at home?"]),
    ("{How can I|How do I} {be happier|feel better|be happy}?", ["Do one small thing today that you enjoy, and one for somebody else.", "Sleep, a walk and a talk with a friend help more than we think.", "Notice three good things every evening."]),
]
LISTS: list[tuple[str, list[str]]] = [
    ("fruits", "apples,pears,plums,cherries,grapes,bananas,oranges,lemons".split(",")),
    ("animals", "dogs,cats,horses,cows,sheep,birds,fish,bears".split(",")),
    ("colors", "red,blue,green,yellow,white,black,brown,pink".split(",")),
    ("vegetables", "carrots,beans,onions,peas,potatoes,cabbage,corn".split(",")),
    ("hobbies", "reading,cooking,painting,hiking,chess,dancing,gardening,singing".split(",")),
    ("drinks", "water,tea,coffee,milk,juice,lemonade".split(",")),
    ("things to take on a trip", "a map,some water,a warm coat,good shoes,a phone,a snack,an umbrella".split(",")),
    ("things in a kitchen", "a table,a knife,a pot,a stove,plates,cups".split(",")),
    ("ideas for dinner", "soup,pasta,salad,curry,rice with vegetables,pancakes,tacos".split(",")),
    ("ideas for the weekend", "a walk in the park,a visit to a friend,a good book,a bike ride,baking a cake".split(",")),
    ("sports", "football,tennis,swimming,running,basketball,cycling".split(",")),
    ("names for a cat", "Luna,Milo,Coco,Pepper,Daisy,Oscar".split(",")),
    ("names for a dog", "Rex,Bella,Buddy,Ruby,Toby,Max".split(",")),
]
SENSE = [
    ("Is the sky blue?", "Yes, on a clear day."), ("Is ice cold?", "Yes, ice is cold."), ("Is fire hot?", "Yes, fire is hot."),
    ("How many days are in a week?", "There are seven days in a week."), ("What comes after Monday?", "Tuesday comes after Monday."),
    ("What is the opposite of hot?", "The opposite of hot is cold."), ("What is the opposite of big?", "The opposite of big is small."),
    ("What is one plus one?", "One plus one is two."), ("What is two plus two?", "Two plus two is four."), ("What sound does a dog make?", "A dog barks."),
    ("What color is grass?", "Grass is green."), ("How many legs does a dog have?", "A dog has four legs."), ("Can you count to five?", "One, two, three, four, five."),
    ("Count to ten.", "One, two, three, four, five, six, seven, eight, nine, ten."), ("How many months are in a year?", "There are twelve months in a year."),
]
LANDS = "France,Spain,Italy,Germany,Japan,China,India,Brazil,Canada,Mexico,Egypt,Kenya,Nigeria,Peru,Chile,Norway,Sweden,Finland,Poland,Greece,Turkey,Iran,Australia,Portugal,Austria,Hungary,Ireland,Scotland,Cuba,Vietnam,Thailand,Korea,Argentina,Morocco,Ghana,Texas,California,Ohio".split(",")
WORLD = [
    "{What is|What's|Do you know|Tell me} the {capital|population|flag|president|language|currency|largest city|area} of [l]?",
    "{Who is|Who was} {the president of [l]|the king of [l]|the queen of [l]|[n] [n2]|the first person on the moon|the author of [b]|the inventor of the [x]}?",
    "{Who} {wrote [b]|invented the [x]|painted [b]|discovered [l]|won the world cup|built the [x]|directed [b]|sang [b]}?",
    "{When} {was [n] [n2] born|did the war end|was [l] founded|did [n] [n2] die|was the [x] invented|was [b] written|did [l] become free}?",
    "{How {far is it to [l]|far is the moon|high is the highest mountain|big is [l]|many people live in [l]|old is the earth|deep is the ocean|fast is light|long is the river in [l]|tall is [n] [n2]}}?",
    "{Where is|Where can I find} {[l]|the city of [p]|[p]|the [x] of [l]}?",
    "{What is|Explain|Can you explain|Tell me about|What do you know about} {gravity|photosynthesis|quantum physics|inflation|the French revolution|a black hole|DNA|democracy|the theory of relativity|blockchain|the history of [l]|climate change|electricity|evolution|the brain|algebra}{?|.}",
    "{What is|How much is|Can you calculate} [i] {times|plus|minus|divided by} [j]?",
    "{How do you say|What is} {[x]|hello|thank you|good night} in {Spanish|French|German|Chinese|Japanese|Latin|Italian}?",
    "{Write|Can you write|Please write} {a program that sorts a list|some Python code|a function in C|an SQL query|a web page|an essay about [l]|a report on [x]}{.|?}",
    "{Why is|Why are} {the sky blue|the sea salty|leaves green|there seasons|the moon round|people in [l] rich}?",
    "{What {happened in [y]|is the tallest building in the world|is the biggest animal|is the news today|is the meaning of life|causes rain|does [x] mean in law|is the chemical formula of water|year is it|is the boiling point of gold}}?",
    "{What is the score of the game|Who won the game last night|Who won the election|What is the price of gold|What is the stock price of [p]|How much does a [x] cost in [l]}?",
]
IGNORANCE = [
    "I don't know{.|, sorry.|, I'm afraid.} {I am a small model and I know little about the world.|I am a small model, and facts like that are not in me.|I know very little about the world.|I know what you teach me, and not much else.}{| Do you know?| If you tell me, I can remember it.| Please look it up somewhere you trust.}",
    "{I'm sorry, I|Sorry, I} don't know {that|the answer}. {I am only a small model.|I'm too small to know such things.|I know little about the world.}{| You can teach me, if you like.| An encyclopedia would know.| Can you tell me?}",
    "{That is more than I know.|I would only be guessing.|I can't say.} I am a small model {and I know little about the world|that knows little about the world}.{| Please ask a better source.| But I can remember it if you tell me.}",
]
HARD = "{I'm sorry, I can't do that well.|That is too hard for me.|I am too small for that.|I'm not good at that.} {I am a small model, better at a friendly talk.|I can chat, and write short messages.|Please ask a bigger model.|A calculator or a search engine would do better.}"


def world(rng: Random, words: Vocabulary) -> list[Turn]:
    """A question about the world, and honest ignorance."""
    kind = rng.randrange(len(WORLD))
    s = {
        "l": rng.choice(LANDS) if rng.random() < 0.6 else words.phrase(rng, (1,), title=True),
        "n": new_name(rng), "n2": new_name(rng), "b": words.phrase(rng, (1, 2, 3), title=True), "x": words.phrase(rng, (1,)),
        "p": words.phrase(rng, (1,), title=True), "i": str(rng.randint(3, 999)), "j": str(rng.randint(3, 99)), "y": str(rng.randint(1000, 2030)),
    }
    ask = expand(rng, WORLD[kind], s)
    hard = kind in (7, 9) and rng.random() < 0.7
    return said(user_case(rng, ask), expand(rng, HARD if hard else rng.choice(IGNORANCE)))


def story(rng: Random) -> list[Turn]:
    """A request for a story about somebody, the story, and perhaps a shorter one."""
    def being() -> str:
        traits = rng.sample(TRAITS, rng.choice((0, 1, 1, 2)))
        return " ".join([*traits, rng.choice(ANIMALS)])

    hero, other = being(), rng.choice(ANIMALS)
    while other in hero:
        other = rng.choice(ANIMALS)
    s = {
        "a": article(hero), "the": f"the {hero.split()[-1]}", "n": new_name(rng), "place": rng.choice(PLACES),
        "o_a": article(other), "o_the": f"the {other}",
    }
    text = _sentences(expand(rng, rng.choice(STORIES), s))
    ask = expand(rng, STORY_ANY if rng.random() < 0.2 else rng.choice(STORY_ASKS), s)
    return said(user_case(rng, ask), text) + shorter(rng, _sentences(expand(rng, STORY_SHORT, s)))


def _sentences(text: str) -> str:
    """A capital letter at the start and after every full stop."""
    out, up = [], True
    for c in text:
        out.append(c.upper() if up and c.isalpha() else c)
        up = c == "." or (up and not c.isalpha())
    return "".join(out)


def shorter(rng: Random, short: str) -> list[Turn]:
    """Now and then: the user wants it shorter."""
    if rng.random() > 0.25:
        return []
    ask = "{Shorter, please.|Shorter please.|Can you make it shorter?|That is too long.|Make it shorter.|Can you say that in one sentence?|A shorter one, please.|Too long. Shorter!}"
    return said(expand(rng, ask), short)


def email(rng: Random, words: Vocabulary) -> list[Turn]:
    """A request for a short email, the email, and perhaps a shorter one."""
    reason, body, short = rng.choice(EMAILS)
    s = {"w": rng.choice(WHO), "d": rng.choice(DAYS), "x": words.phrase(rng, (1,)), "n": new_name(rng)}
    s["r"] = expand(rng, reason, s)
    sign = new_name(rng) if rng.random() < 0.4 else ""
    head = expand(rng, "{Dear [w],|Hello,|Hi,|Dear [w],}", s)
    tail = expand(rng, "{Best wishes|Kind regards|Best regards|Thank you|Yours}", s) + (f",\n{sign}" if sign else "")
    glue = "\n\n" if rng.random() < 0.8 else "\n"
    main = expand(rng, body, s)
    text = glue.join([head, main[:1].upper() + main[1:], tail])
    turns: list[Turn] = [("system", f"The user's name is {sign}.")] if sign else []
    turns += said(user_case(rng, expand(rng, rng.choice(EMAIL_ASKS), s)), text)
    return turns + shorter(rng, expand(rng, short, s))


def request(rng: Random) -> list[Turn]:
    """A joke, advice, a list, or something everybody knows."""
    roll = rng.random()
    if roll < 0.25:
        first, second = rng.sample(JOKES, 2)
        turns = said(user_case(rng, expand(rng, "{Tell me a joke|Do you know a joke|Make me laugh|Say something funny|Can you tell me a joke|Know any jokes|I want to hear a joke}{.|?}")), first)
        if rng.random() < 0.4:
            turns += said(expand(rng, "{Another one|Haha, another one|One more|Tell me another}{!|.|, please.}"), second)
        return turns
    if roll < 0.65:
        ask, replies = rng.choice(ADVICE)
        return said(user_case(rng, expand(rng, ask)), rng.choice(replies))
    if roll < 0.9:
        what, items = rng.choice(LISTS)
        n = rng.randint(2, 4)
        chosen = rng.sample(items, n)
        ask = expand(rng, "{Name|List|Tell me|Give me|Can you name} {me |}[n] [w]{.|, please.|.}", {"n": ["two", "three", "four"][n - 2], "w": what}).replace("Tell me me", "Tell me").replace("Give me me", "Give me").replace("List me", "List")
        text = ", ".join(chosen[:-1]) + f" and {chosen[-1]}."
        return said(user_case(rng, ask), text[:1].upper() + text[1:])
    user, reply = rng.choice(SENSE)
    return said(user_case(rng, user), reply)
