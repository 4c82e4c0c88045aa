//! Word lists that the prompt templates of [`super::prompts`] draw from.
//!
//! All lists are plain lower-case English (names excepted), chosen so that a model of one or two million parameters can
//! learn the vocabulary.

/// Given names of story characters.
pub const NAMES: &[&str] = &[
    "Anna", "Ben", "Clara", "Dan", "Ella", "Finn", "Grace", "Hugo", "Ivy", "Jack", "Kate", "Leo", "Lily", "Max",
    "Mia", "Nina", "Noah", "Olive", "Oscar", "Paul", "Rosa", "Sam", "Sara", "Tess", "Tim", "Tom", "Uma", "Vera",
    "Will", "Zoe", "Lucy", "Emma", "Peter", "Maya", "Nora", "Milo", "Ruby", "Theo", "Alice", "Henry", "Molly",
    "Eli",
];

/// Animals that can be a character.
pub const ANIMALS: &[&str] = &[
    "fox", "rabbit", "bear", "mouse", "owl", "duck", "frog", "cat", "dog", "horse", "snail", "turtle",
    "squirrel", "bee", "wolf", "deer", "hen", "goat", "sheep", "pony", "lion", "whale", "crab", "ant",
    "penguin", "hedgehog", "puppy", "kitten", "bird", "fish", "cow", "pig", "monkey", "elephant", "tiger",
    "snake", "butterfly", "donkey",
];

/// Traits of a character.
pub const TRAITS: &[&str] = &[
    "small", "brave", "shy", "kind", "funny", "sleepy", "curious", "clever", "lonely", "happy", "sad", "tired",
    "hungry", "gentle", "proud", "noisy", "quiet", "busy", "old", "young", "friendly", "lazy", "lost",
    "careful", "cheerful",
];

/// Things a character can find, make, lose or share.
pub const OBJECTS: &[&str] = &[
    "red ball", "blue kite", "key", "old map", "lamp", "drum", "boat", "wooden box", "green hat", "warm coat",
    "bell", "book", "cup", "shiny stone", "feather", "gold coin", "toy car", "ladder", "basket", "big cake",
    "apple", "pear", "sandwich", "blanket", "paper plane", "candle", "mirror", "flower", "seed", "shell",
    "balloon", "umbrella", "bike", "whistle", "spoon", "pencil", "letter", "clock", "teddy bear", "scarf",
    "bucket", "rope", "ring", "picture", "cookie", "pumpkin", "egg", "sled", "tent", "nest",
];

/// Places where something happens.
pub const PLACES: &[&str] = &[
    "park", "forest", "garden", "farm", "kitchen", "school", "library", "beach", "river", "lake", "hill",
    "barn", "market", "castle", "cave", "village", "meadow", "bakery", "train station", "attic", "harbor",
    "zoo", "playground", "island", "desert", "mountain", "city", "museum", "pond", "yard", "bus", "shop",
];

/// What happens in a story, as the object of "about".
pub const EVENTS: &[&str] = &[
    "a long walk in the rain", "a lost toy", "the first day of school", "a windy day", "a birthday party",
    "a new friend", "a big storm", "a picnic", "a race", "a secret door", "a snowy morning", "a broken window",
    "a missing shoe", "a trip to the sea", "a night under the stars", "a noisy neighbor",
    "a garden full of flowers", "a promise", "a mistake", "a surprise", "a kind stranger", "a very hot day",
    "learning to swim", "baking bread", "saying sorry", "sharing lunch", "helping an old man",
    "planting a tree", "building a house of sticks", "a dream about flying", "a quiet evening at home",
    "finding the way home",
];

/// Lessons a story can end with.
pub const LESSONS: &[&str] = &[
    "sharing is good", "it is fine to ask for help", "friends matter", "telling the truth is best",
    "practice makes things easier", "small things can be important", "it is good to be patient",
    "being kind feels good", "everyone makes mistakes", "working together helps", "it is brave to try",
    "listening is important",
];

/// Nouns for "what is" and "describe" questions.
pub const THINGS: &[&str] = &[
    "bicycle", "river", "mountain", "cloud", "rainbow", "volcano", "bridge", "clock", "mirror", "magnet",
    "telescope", "compass", "thermometer", "library", "museum", "hospital", "farm", "desert", "island",
    "forest", "ocean", "planet", "star", "moon", "shadow", "echo", "seed", "leaf", "root", "flower", "tree",
    "bee", "whale", "spider", "penguin", "elephant", "dolphin", "camel", "owl", "snake", "frog", "horse", "map",
    "letter", "newspaper", "radio", "computer", "robot", "train", "airplane", "boat", "car", "bus", "house",
    "garden", "kitchen", "window", "door", "chair", "table", "lamp", "umbrella", "hat", "shoe", "coat", "apple",
    "orange", "potato", "tomato", "cake", "egg", "candle", "guitar", "piano", "drum", "song", "poem", "story",
    "painting", "photo", "game", "holiday", "birthday", "storm", "stone", "pencil", "ladder", "hammer", "wheel",
    "lighthouse", "windmill", "market",
];

/// Clauses that follow "why".
pub const WHYS: &[&str] = &[
    "the sky is blue", "leaves turn brown in autumn", "we need to sleep", "ice floats on water",
    "birds fly south", "the moon changes its shape", "we brush our teeth", "plants need light", "cats purr",
    "dogs wag their tails", "the sea is salty", "we have seasons", "bread rises", "people laugh", "we dream",
    "it rains", "snow is white", "we need water", "fire is hot", "metal feels cold", "boats float",
    "leaves are green", "we wash our hands", "the sun sets in the evening", "fish can live in water",
    "owls can see at night", "bees make honey", "people wear coats in winter", "exercise is good for us",
    "reading is important", "we say thank you", "babies cry", "onions make us cry", "we get hungry",
    "camels can live in the desert", "stars twinkle", "we have bones", "roads have signs", "people keep pets",
    "we eat vegetables", "spiders make webs", "the wind blows", "clocks are useful", "friends are important",
    "we go to school", "soap cleans our hands", "we yawn", "trees are important", "bears sleep in winter",
    "we need friends", "milk goes bad", "thunder is loud",
];

/// Actions that follow "how do I" or "how can I".
pub const TASKS: &[&str] = &[
    "make a cup of tea", "boil an egg", "plant a tree", "wrap a gift", "clean my shoes", "learn a new word",
    "make a sandwich", "draw a cat", "fall asleep faster", "wake up early", "save money", "write a letter",
    "make a new friend", "take care of a dog", "water my plants", "fold a paper plane", "pack a bag",
    "wash a car", "cook rice", "keep my room tidy", "learn to swim", "ride a bike", "bake a cake",
    "make lemonade", "say sorry", "feel less nervous", "remember names", "read more books", "stay healthy",
    "study for a test", "build a sand castle", "make my bed", "cut an onion", "set the table", "grow tomatoes",
    "find my keys", "learn to sing", "save water", "stay warm in winter", "stay cool in summer",
    "help my neighbor", "plan a picnic", "catch a bus", "choose a book", "make a snowman", "tell a good story",
    "thank my teacher", "take a good photo", "clean a window", "paint a wall",
];

/// Everyday problems, as the end of a sentence that starts with "I".
pub const PROBLEMS: &[&str] = &[
    "cannot sleep at night", "feel sad today", "had a fight with my friend", "lost my keys", "am bored at home",
    "am afraid of the dark", "forgot my homework", "am late every morning", "spend too much money",
    "feel tired all day", "have a big test tomorrow", "moved to a new town", "do not know what to cook",
    "broke my mother's cup", "want to eat less sugar", "miss my grandmother", "am shy at parties",
    "have a noisy neighbor", "want a pet", "feel lonely", "have too much work", "always forget names",
    "am nervous about my first day", "have a cold", "spilled juice on my shirt", "want to learn to draw",
    "cannot find my cat", "need a gift for my father", "get angry too fast", "want to run faster",
    "have nothing to read", "do not like vegetables", "talk too much", "want to wake up earlier",
    "have a headache", "am not sure what job I want", "feel cold at night",
];

/// Pairs to compare.
pub const PAIRS: &[(&str, &str)] = &[
    ("a frog", "a fish"), ("tea", "coffee"), ("a river", "a lake"), ("summer", "winter"), ("a cat", "a dog"),
    ("the sun", "the moon"), ("a book", "a film"), ("a car", "a bus"), ("a city", "a village"),
    ("rain", "snow"), ("a hill", "a mountain"), ("bread", "cake"), ("a horse", "a donkey"),
    ("a boat", "a ship"), ("a pen", "a pencil"), ("day", "night"), ("an apple", "an orange"),
    ("a poem", "a story"), ("butter", "cheese"), ("a bee", "a fly"), ("a star", "a planet"), ("salt", "sugar"),
    ("a sea", "an ocean"), ("fruit", "vegetables"), ("a turtle", "a snail"), ("walking", "running"),
    ("a clock", "a watch"), ("wood", "metal"), ("a friend", "a neighbor"), ("hot", "warm"),
];

/// Hobbies and things people like.
pub const HOBBIES: &[&str] = &[
    "reading", "cooking", "swimming", "drawing", "singing", "dancing", "running", "fishing", "gardening",
    "painting", "playing chess", "playing football", "riding my bike", "walking in the woods", "baking",
    "watching birds", "listening to music", "playing the guitar", "taking photos", "knitting", "camping",
    "telling jokes", "looking at the stars", "building model boats", "collecting stones", "learning languages",
];

/// Moods and small news, as the end of a sentence that starts with "I".
pub const NEWS: &[&str] = &[
    "just woke up", "am very happy today", "had a long day", "am going to the beach", "just had lunch",
    "got a new job", "have a new puppy", "won a game", "am waiting for the bus", "made soup for dinner",
    "saw a rainbow", "finished my book", "cleaned the whole house", "am going on a trip", "met an old friend",
    "planted some flowers", "baked bread this morning", "took a walk in the park", "have a day off",
    "bought a new bike", "am looking out of the window", "painted my room", "learned a new song",
    "got a letter from my aunt", "cannot decide what to wear", "heard a funny joke", "fixed my old radio",
    "found a coin on the street",
];

/// Weather, as the end of "it is".
pub const WEATHER: &[&str] = &[
    "sunny", "raining", "snowing", "windy", "very hot", "very cold", "cloudy", "foggy", "a bit warm",
    "dark outside",
];

/// Topics for facts, tips, questions and short texts.
pub const TOPICS: &[&str] = &[
    "cats", "dogs", "the sea", "the moon", "the sun", "trees", "rain", "snow", "food", "friends", "school",
    "music", "sleep", "water", "bees", "birds", "trains", "mountains", "flowers", "books", "winter", "summer",
    "family", "sports", "colors", "numbers", "the body", "the desert", "whales", "space", "farms", "weather",
    "health", "time", "money", "travel", "manners", "games", "art", "cooking", "rivers", "insects", "bread",
    "horses", "dreams", "the night",
];

/// Things without an article.
pub const STUFF: &[&str] = &[
    "bread", "rice", "cheese", "soup", "milk", "honey", "tea", "salt", "sugar", "butter", "ice", "snow", "rain",
    "wind", "fire", "smoke", "sand", "gold", "silver", "iron", "glass", "paper", "wood", "wool", "cotton",
    "plastic", "soap", "water", "air", "light", "sound", "steam", "rust", "mud", "music", "art", "sleep",
    "winter", "summer", "spring", "autumn", "luck", "hope", "trust", "homework", "traffic", "chocolate", "jam",
    "fog", "moss",
];
