"""Plain questions of the kinds that data sets hold, for tests."""

from zs_env.types import Question

_TRIVIA = """
who painted the starry night|Vincent van Gogh|Van Gogh
who wrote pride and prejudice|Jane Austen
when did the berlin wall fall|9 November 1989|November 1989|1989
how many strings does a violin have|four|4
what is the chemical symbol for gold|Au
who was the first woman to win a nobel prize|Marie Curie
what is the tallest mountain on earth|Mount Everest|Everest
in which year did the titanic sink|1912
how many bones are in the adult human body|206
who composed the four seasons|Antonio Vivaldi|Vivaldi
what is the largest planet in the solar system|Jupiter
which river flows through cairo|the Nile|Nile River
who directed the film psycho|Alfred Hitchcock
when was the declaration of independence signed|July 4, 1776|4 July 1776
what is the hardest natural substance|diamond
who invented the telephone|Alexander Graham Bell
how many players are on a football team|eleven|11
what is the capital city of australia called|Canberra
which element has the atomic number one|hydrogen
who wrote the origin of species|Charles Darwin
what does dna stand for|deoxyribonucleic acid
when did man first land on the moon|July 20, 1969|1969
who sang like a virgin|Madonna
how long is a marathon in kilometers|42.195
what is the longest bone in the human body|the femur|thigh bone
who founded the company microsoft|Bill Gates|Bill Gates and Paul Allen
which ocean is the deepest|Pacific Ocean|the Pacific
what is the square root of one hundred forty four|12
who played the joker in the dark knight|Heath Ledger
when did world war two end|1945|2 September 1945
what is the smallest prime number|2|two
who was the author of don quixote|Miguel de Cervantes
which planet is known as the red planet|Mars
what gas do plants take in|carbon dioxide|CO2
how many degrees are in a right angle|90
who discovered penicillin|Alexander Fleming
what is the currency of japan named|yen
in what city is the colosseum|Rome, Italy|Rome
who was the first emperor of rome|Augustus|Octavian
what is the boiling point of water in celsius|100
how many continents are there on earth|seven|7
which instrument did louis armstrong play|the trumpet
what year did columbus reach america|1492
who wrote the opera carmen|Georges Bizet
what is the main ingredient of hummus|chickpeas
which country gave the statue of liberty to the united states|France
who painted the ceiling of the sistine chapel|Michelangelo
how many sides does a hexagon have|six
what is the speed of light in kilometers per second|299,792|299,792.458
who was known as the maid of orleans|Joan of Arc
what is frozen carbon dioxide called|dry ice
when was the first iphone released|June 29, 2007|2007
which bird is a symbol of peace|the dove|a white dove
who wrote the novel nineteen eighty four|George Orwell|Eric Blair
what is the largest mammal|blue whale|the blue whale
in which sport is the term love used|tennis
what was the name of the first artificial satellite|Sputnik 1|Sputnik
how many moons does mars have|two|2
who developed the theory of relativity|Albert Einstein
what is the study of earthquakes called|seismology
which vitamin does sunlight give us|vitamin D
who was the lead singer of queen|Freddie Mercury
when did the french revolution begin|1789|14 July 1789
what is the national flower of england|the Tudor rose|rose
how many minutes are in a full day|1,440
who wrote the play waiting for godot|Samuel Beckett
what is the largest desert in the world|Antarctica|Antarctic Desert
which metal is liquid at room temperature|mercury
who was the tallest president of the united states|Abraham Lincoln
what is the name of the fairy in peter pan|Tinker Bell
how many keys does a piano have|88|eighty-eight
in which museum is the mona lisa|the Louvre|Louvre Museum, Paris
who built the first successful airplane|the Wright brothers|Orville and Wilbur Wright
what animal is on the logo of ferrari|a prancing horse|horse
when did queen victoria die|22 January 1901|1901
what is the capital of the state of texas|Austin
which gas is most common in the air|nitrogen
who wrote the lord of the rings|J. R. R. Tolkien|Tolkien
what is the ratio of a circle's circumference to its diameter|pi|3.14159
how many rings are on the olympic flag|five
what language is spoken in brazil|Portuguese
who was the founder of the red cross|Henry Dunant
what is the softest mineral|talc
which city hosted the olympic games in 2012|London
when did the cold war end|26 December 1991|1991
is the tomato a fruit|yes
is the whale a fish|no
did napoleon win the battle of waterloo|no
was marie curie born in warsaw|yes
what is the fear of spiders called|arachnophobia
who created the comic strip peanuts|Charles M. Schulz|Charles Schulz
what was the population of rome in the year 100|about 1,000,000
which king had six wives|Henry VIII
who killed julius caesar|Brutus and Cassius|a group of senators
how tall is the eiffel tower in meters|330
what is the first book of the bible|Genesis
who voices woody in toy story|Tom Hanks
what kind of tree bears acorns|the oak|oak tree
when was the university of oxford founded|around 1096|1096
which fruit has its seeds on the outside|strawberry|the strawberry
"""

TRIVIA = [
    Question(id=f"trivia-{i}", question=line.split("|")[0] + "?", golden_answers=tuple(line.split("|")[1:]))
    for i, line in enumerate(_TRIVIA.strip().splitlines())
]
