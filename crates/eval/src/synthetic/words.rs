//! The words the tasks are made of: short, common English, most of them one or two tokens of a small vocabulary.

/// First names: keys of recall and subjects of look-up.
pub(super) const NAMES: [&str; 96] = [
    "Adam", "Alice", "Amy", "Andrew", "Anna", "Arthur", "Barbara", "Ben", "Beth", "Bill", "Bob",
    "Brian", "Carl", "Carol", "Charles", "Chris", "Clara", "Dan", "David", "Diana", "Donna",
    "Dora", "Edward", "Ellen", "Emily", "Emma", "Eric", "Eva", "Frank", "Fred", "George", "Grace",
    "Greg", "Hannah", "Harry", "Helen", "Henry", "Hugo", "Ian", "Irene", "Jack", "James", "Jane",
    "Jason", "Jean", "Jeff", "Jenny", "Joe", "John", "Judy", "Julia", "Karen", "Kate", "Kevin",
    "Larry", "Laura", "Leo", "Linda", "Lisa", "Louis", "Lucy", "Luke", "Maria", "Mark", "Martin",
    "Mary", "Max", "Michael", "Mike", "Nancy", "Nick", "Nina", "Nora", "Oliver", "Oscar", "Paul",
    "Peter", "Philip", "Rachel", "Ralph", "Richard", "Robert", "Rosa", "Roy", "Ruth", "Sam",
    "Sarah", "Simon", "Sophie", "Steve", "Susan", "Thomas", "Tim", "Tom", "Victor", "Walter",
];

/// Things one can have, all starting with a consonant sound so that `a` fits: values of recall, words to copy.
pub(super) const OBJECTS: [&str; 104] = [
    "bag", "ball", "basket", "bed", "bell", "bench", "bike", "board", "boat", "book", "bottle",
    "bowl", "box", "bridge", "brush", "bucket", "button", "cake", "camera", "candle", "cap", "car",
    "card", "carpet", "chain", "chair", "clock", "coat", "coin", "comb", "cup", "desk", "doll",
    "door", "dress", "drum", "fan", "fence", "flag", "flower", "fork", "garden", "gate", "glass",
    "glove", "guitar", "hammer", "hat", "helmet", "horn", "house", "jar", "key", "kite", "knife",
    "ladder", "lamp", "leaf", "letter", "lock", "map", "mask", "medal", "mirror", "nail", "needle",
    "net", "page", "pan", "paper", "pen", "pencil", "phone", "piano", "picture", "pillow", "pipe",
    "plate", "pot", "radio", "ring", "rock", "roof", "rope", "ruler", "saw", "scarf", "shirt",
    "shoe", "spoon", "stamp", "stick", "stone", "table", "tent", "ticket", "tool", "towel", "toy",
    "tree", "truck", "wheel", "whistle", "window",
];

/// Creatures: keys of recall where no name is used.
pub(super) const ANIMALS: [&str; 64] = [
    "bat", "bear", "bee", "bird", "bug", "bull", "calf", "camel", "cat", "cow", "crab", "crow",
    "deer", "dog", "dolphin", "donkey", "dove", "dragon", "duck", "fish", "fly", "fox", "frog",
    "goat", "goose", "hawk", "hen", "horse", "hound", "kitten", "lamb", "lion", "lizard",
    "lobster", "monkey", "moose", "moth", "mouse", "mule", "panda", "parrot", "penguin", "pig",
    "pony", "puppy", "rabbit", "ram", "rat", "robin", "seal", "shark", "sheep", "snail", "snake",
    "spider", "swan", "tiger", "toad", "turkey", "turtle", "whale", "wolf", "worm", "zebra",
];

/// Where people live.
pub(super) const PLACES: [&str; 64] = [
    "Athens", "Austin", "Berlin", "Boston", "Brazil", "Cairo", "Canada", "Chicago", "Chile",
    "China", "Cuba", "Dallas", "Delhi", "Denver", "Dublin", "Egypt", "England", "Florida",
    "France", "Geneva", "Germany", "Greece", "Hawaii", "India", "Iran", "Ireland", "Israel",
    "Italy", "Japan", "Kansas", "Kenya", "Korea", "Lima", "London", "Madrid", "Maine", "Mexico",
    "Miami", "Milan", "Moscow", "Munich", "Nepal", "Norway", "Ohio", "Oregon", "Oslo", "Oxford",
    "Paris", "Peru", "Poland", "Prague", "Rome", "Russia", "Scotland", "Seattle", "Spain",
    "Sweden", "Sydney", "Texas", "Tokyo", "Turkey", "Vienna", "Wales", "York",
];

/// What a thing can look like.
pub(super) const COLORS: [&str; 16] = [
    "black", "blue", "brown", "clear", "cream", "dark", "gold", "gray", "green", "pink", "purple",
    "red", "silver", "tan", "white", "yellow",
];

/// What people work as, all taking `a`.
pub(super) const JOBS: [&str; 32] = [
    "baker", "banker", "barber", "builder", "butcher", "chef", "clerk", "coach", "cook", "dancer",
    "dentist", "doctor", "driver", "farmer", "guard", "judge", "lawyer", "manager", "miner",
    "nurse", "painter", "pilot", "poet", "priest", "sailor", "singer", "soldier", "tailor",
    "teacher", "vet", "waiter", "writer",
];

/// What people like to eat or drink.
pub(super) const FOODS: [&str; 48] = [
    "apples",
    "bacon",
    "bananas",
    "beans",
    "beef",
    "berries",
    "bread",
    "butter",
    "cabbage",
    "candy",
    "carrots",
    "cheese",
    "cherries",
    "chicken",
    "chips",
    "coffee",
    "cookies",
    "corn",
    "crackers",
    "eggs",
    "fruit",
    "grapes",
    "ham",
    "honey",
    "jam",
    "lemons",
    "lunch",
    "milk",
    "mushrooms",
    "noodles",
    "nuts",
    "onions",
    "oranges",
    "pasta",
    "peaches",
    "pears",
    "pepper",
    "pizza",
    "plums",
    "potatoes",
    "rice",
    "salad",
    "soup",
    "steak",
    "sugar",
    "tea",
    "toast",
    "tomatoes",
];
